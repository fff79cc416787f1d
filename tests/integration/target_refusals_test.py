"""What goldlink-target refuses: strangers, garbage, floods, broken images, full disks, bad requests.

Every refusal names its reason, is logged once, and leaves everybody else undisturbed.
"""

import os
import random
import socket
import subprocess
import unittest
import uuid

from harness import iscsi, processes, target_case as target
from harness.target_case import run

MIB = 1 << 20


class Refusals(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.image = os.urandom(MIB)
        self.version = self.target.import_image(self.image)
        self.link = self.target.put_link("pc-001", self.version)
        self.bystander = self.login(self.link)

    def tearDown(self):
        # Whatever happened: a session that was there before still reads and writes.
        self.bystander.write(8, b"Z" * 512)
        self.assertEqual(self.bystander.read(8, 1), b"Z" * 512)
        self.assertTrue(self.target.daemon.running())
        super().tearDown()

    def connect(self, name="iqn.2026-11.io.goldlink.test:initiator"):
        initiator = iscsi.Initiator(self.target.portal, name, iscsi.random_isid())
        self.addCleanup(initiator.close)
        return initiator

    def login(self, link, username="user", secret=target.SECRET, **options):
        return self.connect(**options).login(link["iqn"], username, secret)

    def refused(self, status, *arguments, **options):
        with self.assertRaises(iscsi.LoginFailed) as failed:
            self.login(*arguments, **options)
        self.assertEqual(hex(failed.exception.status), hex(status))

    # Logins (statuses: RFC 7143 11.13.5)

    def test_wrong_secrets_names_and_methods(self):
        limited = self.target.put_link("pc-002", self.version, initiators=["iqn.2026-11.io.goldlink.test:friend"])
        self.refused(0x0201, self.link, "user", "not the secret!!")
        self.refused(0x0201, self.link, "nobody", target.SECRET)
        self.refused(0x0201, self.link, None, None)
        self.refused(0x0202, limited, name="iqn.2026-11.io.goldlink.test:stranger")
        self.refused(0x0203, {"iqn": "iqn.2026-11.io.goldlink:none"})
        self.login(limited, name="iqn.2026-11.io.goldlink.test:friend").logout()
        why = {event["data"]["why"] for event in self.target.events(kind="login_refused")}
        self.assertGreaterEqual(len(why), 3, why)
        for event in self.target.events(kind="login_refused"):
            self.assertEqual(event["data"]["address"].rsplit(":", 1)[0], "127.0.0.1")
            self.assertTrue(event["data"]["initiator_name"])

    def test_names_and_user_names_of_any_bytes_are_refused_and_told_as_clean_text(self):
        events = lambda: self.target.api.get("/events?after=0").json["events"]
        for name in ("iqn.evil:\udcff\udcfe", "iqn.evil:\x1b[31m", "iqn.evil:a b", "iqn.evil:" + "x" * 300, "pc-001"):
            with self.subTest(name):
                self.refused(0x0200, self.link, name=name)
        told = [event["data"] for event in events() if event["kind"] == "login_refused"]
        self.assertEqual(len(told), 5, told)
        self.assertEqual(told[0]["initiator_name"], "iqn.evil:\ufffd\ufffd")
        self.assertIn("it is not UTF-8", told[0]["why"])
        self.assertLess(len(told[3]["initiator_name"].encode()), 224)
        # A line of the log that somebody else wrote, and eight kilobytes of it.
        forged = "x\n2026-11-30T10:00:00.000 info goldlink-manager: admin signed in\x1b[31;1m\x07"
        self.refused(0x0201, self.link, forged, target.SECRET)
        self.refused(0x0201, self.link, "y" * 8000, target.SECRET)
        self.refused(0x0203, {"iqn": "iqn.none:\udcff\n\x1b" + "z" * 4000})
        log = self.target.daemon.log()
        self.assertNotIn("\x1b", log)
        self.assertEqual([line for line in log.splitlines() if line.startswith("2026-11-30T10:00:00.000")], [])
        self.assertLess(max(map(len, log.splitlines())), 1500)
        self.assertEqual(len([event for event in events() if event["kind"] == "login_refused"]), 8)
        # Who is let in is shown, in the case that names compare by.
        self.login(self.link, name="IQN.1991-05.COM.MICROSOFT:PC_001.school")
        shown = self.target.api.get(f"/links/{self.link['id']}").json
        self.assertIn("iqn.1991-05.com.microsoft:pc_001.school", str(shown))

    def test_the_same_refusal_is_told_once_however_often_it_is_tried(self):
        for _ in range(30):
            self.refused(0x0201, self.link, "user", "not the secret!!")
        self.assertEqual(len(self.target.events(kind="login_refused")), 1)
        self.assertEqual(self.target.daemon.log().count("refused"), 1)

    def test_a_flood_of_logins(self):
        refused, served = 0, 0
        for number in range(600):
            try:
                with iscsi.Initiator(self.target.portal, isid=iscsi.random_isid()) as initiator:
                    initiator.login(self.link["iqn"], "user", "not the secret!!" if number % 2 else target.SECRET)
                    served += 1
            except (iscsi.LoginFailed, iscsi.Closed, ConnectionError):
                refused += 1
        self.assertGreater(served, 0)
        self.assertGreater(refused, 299)
        self.assertLess(len(self.target.daemon.log()), 600_000)
        processes.wait_until(lambda: len(self.target.view(self.link)["sessions"]) == 1, "the flood has gone")

    def test_half_open_connections_do_not_keep_others_out(self):
        host, port = self.target.portal.split(":")
        silent = []
        for number in range(700):
            try:
                one = socket.create_connection((host, int(port)), 10)
            except ConnectionError:
                continue
            silent.append(one)
            if number % 3 == 0:
                try:
                    one.sendall(bytes(number % 48))  # part of a header
                except ConnectionError:
                    pass
        for one in silent:
            self.addCleanup(one.close)

        # Refusing for a moment while full would be right too; refusing for long would not.
        def serves():
            try:
                return self.login(self.link).read(0, 1) == self.image[:512]
            except (iscsi.Closed, iscsi.LoginFailed, ConnectionError):
                return False

        processes.wait_until(serves, "a login gets through", 20)

    def closes(self, initiator, what):
        try:
            self.assertTrue(initiator.is_closed(), what)
        except (socket.timeout, TimeoutError):
            self.fail(f"the connection stays open after {what}")

    def test_malformed_pdus_before_login(self):
        login = self.connect().login_pdu(0, 1, True, {"InitiatorName": "iqn.2026-11.io.x:y", "SessionType": "Discovery"})
        oversized = bytearray(login.encode())
        oversized[5:8] = b"\xff\xff\xff"
        long_ahs = bytearray(login.encode())
        long_ahs[4] = 255
        cases = {
            "HTTP": b"GET / HTTP/1.1\r\nHost: target\r\n\r\n" + bytes(48),
            "zeroes": bytes(4096),
            "ones": b"\xff" * 4096,
            "a command before login": iscsi.make_pdu(iscsi.SCSI_COMMAND).encode(),
            "a data segment of 16 MiB": bytes(oversized),
            "a 1 KiB header segment": bytes(long_ahs) + bytes(1024),
            "keys without an end": iscsi.make_pdu(iscsi.LOGIN, 0x87, True, b"A" * 8000).encode(),
            "a key without a value": iscsi.make_pdu(iscsi.LOGIN, 0x87, True, b"InitiatorName\0").encode(),
            "an impossible stage": self.connect().login_pdu(3, 3, True, {}).encode(),
        }
        for what, data in cases.items():
            with self.subTest(what):
                initiator = self.connect()
                try:
                    initiator.send_bytes(data)
                except ConnectionError:
                    pass
                initiator.socket.settimeout(25)  # the login's own time limit ends it at last
                self.closes(initiator, what)

    def test_malformed_pdus_of_a_session(self):
        def command(initiator):
            return initiator.command_pdu(bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 8, 0]), data=bytes(4096))

        def unknown_opcode(initiator):
            initiator.send(iscsi.make_pdu(0x1F, 0x80, True))

        def oversized(initiator):
            data = bytearray(command(initiator).encode())
            data[5:8] = b"\xff\xff\xff"
            initiator.send_bytes(bytes(data))

        def data_for_nobody(initiator):
            pdu = iscsi.make_pdu(iscsi.DATA_OUT, 0x80, False, bytes(512))
            initiator.send(pdu.put32(16, 77).put32(20, 99))

        def data_beyond_the_end(initiator):
            pdu = command(initiator)
            pdu.data = b""
            initiator.send(pdu)
            r2t = initiator.receive()
            self.assertEqual(r2t.opcode, iscsi.R2T)
            out = iscsi.make_pdu(iscsi.DATA_OUT, 0x80, False, bytes(4096))
            out.put32(16, pdu.itt).put32(20, r2t.u32(20)).put32(40, 0xFFFFF000)
            initiator.send(out)

        def command_far_outside_the_window(initiator):
            initiator.cmd_sn += 1_000_000
            initiator.send(command(initiator))

        def login_again(initiator):
            initiator.send(initiator.login_pdu(1, 3, True, {}))

        def text_of_garbage(initiator):
            pdu = iscsi.make_pdu(iscsi.TEXT, 0x80, True, os.urandom(8000))
            initiator.send(pdu.put32(16, 5).put32(20, iscsi.NO_TAG).put32(24, initiator.cmd_sn))

        for misbehave in (unknown_opcode, oversized, data_for_nobody, data_beyond_the_end,
                          command_far_outside_the_window, login_again, text_of_garbage):
            with self.subTest(misbehave.__name__):
                initiator = self.login(self.link)
                misbehave(initiator)
                initiator.socket.settimeout(2)
                # Rejected or ignored, answered or closed: never a crash, never somebody else's harm.
                try:
                    while True:
                        answer = initiator.receive()
                        self.assertIn(answer.opcode, (iscsi.REJECT, iscsi.SCSI_RESPONSE, iscsi.ASYNC, iscsi.R2T,
                                                      iscsi.TEXT_RESPONSE, iscsi.LOGIN_RESPONSE))
                except (iscsi.Closed, socket.timeout, TimeoutError):
                    pass
                initiator.close()
                self.assertEqual(self.bystander.read(0, 1), self.image[:512])

    def test_random_bytes_in_a_session(self):
        chance = random.Random(7)
        for _ in range(60):
            initiator = self.login(self.link)
            pdu = bytearray(initiator.command_pdu(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 512).encode())
            for _ in range(chance.randrange(1, 6)):
                pdu[chance.randrange(48)] = chance.randrange(256)
            try:
                initiator.send_bytes(bytes(pdu))
            except ConnectionError:
                pass
            initiator.close()
        self.assertEqual(self.bystander.read(0, 1), self.image[:512])

    # Images

    def failed_import(self, content, format, kind, name="upload"):
        before = self.target.api.get("/versions").json
        report = self.target.task(self.target.start_import(content, name, format))
        self.assertEqual((report["state"], report["error"] and report["error"]["kind"]), ("failed", kind), report)
        self.assertEqual(self.target.api.get("/versions").json, before)
        event = self.target.wait_event("import_failed", id=report["id"])
        self.assertEqual(event["data"]["error"], report["error"])
        self.assertEqual(self.target.daemon.log().count(report["error"]["message"]), 1)
        return report["error"]["message"]

    def test_a_truncated_vhd(self):
        raw, vhd = self.folder / "raw", self.folder / "disk.vhd"
        raw.write_bytes(os.urandom(4 * MIB))
        run("qemu-img", "convert", "-O", "vpc", raw, vhd)
        whole = vhd.read_bytes()
        self.target.import_image(whole, "whole.vhd", "vhd")
        for length in (700, len(whole) // 2):
            message = self.failed_import(whole[:length], "vhd", "invalid", f"cut-{length}.vhd")
            self.assertIn(f"cut-{length}.vhd", message)

    def test_a_file_that_is_no_image(self):
        for name, content in (("notes.txt", b"This is a text file, not a disk.\n" * 1000), ("one-byte", b"x"),
                              ("noise", os.urandom(MIB))):
            self.assertIn(name, self.failed_import(content, "", "invalid", name))
        for format in ("vhd", "vhdx", "vmdk", "qcow2"):
            self.failed_import(os.urandom(MIB), format, "invalid", f"noise.{format}")

    def test_a_disk_that_fills_up_during_an_import(self):
        small = self.folder / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(small)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(small)], check=True)
        folder = self.folder
        self.folder = folder / "second"
        self.folder.mkdir()
        tight = target.Target(self, state_dir=small / "state").start()
        self.folder = folder
        first = tight.import_image(os.urandom(4 * MIB))
        link = tight.put_link("pc-001", first)
        # Too long for the spool: told before the first byte is stored.
        refused = self.check(tight.api.put("/uploads/huge.raw", bytes(60 * MIB)), 507)
        self.assertIn("reserve", refused["detail"])
        # Fits into the spool, but its chunks do not fit beside it.
        source = self.folder / "large.raw"
        source.write_bytes(os.urandom(80 * MIB))
        report = tight.task(tight.api.post("/imports", {"id": str(uuid.uuid4()), "path": str(source),
                                                        "format": "raw"}))
        self.assertEqual((report["state"], report["error"]["kind"]), ("failed", "exhausted"), report)
        self.assertEqual([version["digest"] for version in tight.api.get("/versions").json], [first])
        # What was served before is served still, and there is room again.
        second = tight.import_image(os.urandom(4 * MIB))
        with iscsi.Initiator(tight.portal) as initiator:
            initiator.login(link["iqn"], "user", target.SECRET)
            initiator.write(0, b"Y" * 4096)
            self.assertEqual(initiator.read(0, 8), b"Y" * 4096)
        self.assertNotEqual(first, second)
        tight.daemon.stop()

    def test_an_image_in_use_is_not_deleted(self):
        refused = self.check(self.target.api.delete(f"/versions/{self.version}"), 409)
        self.assertEqual((refused["type"], refused["links"]), ("version-in-use", [self.link["id"]]))
        self.assertEqual(self.bystander.read(0, 1), self.image[:512])

    def test_an_import_is_cancelled_and_leaves_nothing(self):
        big = self.folder / "big.raw"
        with open(big, "wb") as file:
            for _ in range(128):
                file.write(os.urandom(MIB))
        before = self.target.api.get("/versions").json
        answer = self.check(self.target.start_import(big, "big.raw"), 202)
        self.check(self.target.api.delete(f"/imports/{answer['id']}"), 204)
        report = processes.wait_until(
            lambda: next((now for now in [self.target.api.get(f"/imports/{answer['id']}").json]
                          if now["state"] != "running"), None), "the import ends", 60)
        self.assertEqual((report["state"], report["error"]["kind"]), ("cancelled", "cancelled"))
        self.assertEqual(self.target.api.get("/versions").json, before)
        self.check(self.target.api.delete(f"/imports/{answer['id']}"), 204)
        self.check(self.target.api.get(f"/imports/{answer['id']}"), 404)

    # Control requests

    def test_malformed_control_requests(self):
        a, b = str(uuid.uuid4()), str(uuid.uuid4())
        good = self.target.link_body("pc-009", self.version)

        def changed(**members):
            return {**good, **members}

        def disk(**members):
            return changed(disks=[{**good["disks"][0], **members}])

        put_link = [
            (b"", "nothing"), (b"{", "byte"), (b"[]", "array"), (b"\xff\xfe", "JSON"), (b"[" * 100000, "JSON"),
            ({}, "revision"), (changed(revision=-1), "revision"), (changed(revision="7"), "integer"),
            (changed(iqn="pc-009"), "iqn"), (changed(iqn="iqn.2026-13.io.x:y"), "month"),
            (changed(iqn="iqn.2026-11.io.goldlink:PC"), "a-z"), (changed(iqn="iqn.2026-11.io." + "x" * 300), "iqn"),
            (changed(disks=[]), "disk"), (changed(disks=[1]), "object"), (disk(lun=256), "lun"),
            (disk(policy="forget"), "policy"), (disk(version="abc"), "version"), (disk(version="Z" * 64), "hex"),
            (disk(quota_bytes=0), "quota_bytes"), (changed(disks=good["disks"] * 2), "twice"),
            (changed(credentials=[{"username": "u", "secret": "short"}]), "secret"),
            (changed(credentials=[{"username": "u", "secret": "x" * 300}]), "secret"),
            (changed(credentials=[{"username": "", "secret": "x" * 12}]), "username"),
            (changed(credentials=[{"username": "u", "secret": "x" * 12, "mutual_username": "m"}]), "mutual"),
            (changed(credentials=[{"username": "u", "secret": "x" * 12, "mutual_username": "m",
                                   "mutual_secret": "x" * 12}]), "differ"),
            (changed(allowed_initiators=["a b"]), "initiator"), (changed(allowed_initiators="x"), "array"),
            (changed(id=b), "path"), (changed(quota=1), "unknown field 'quota'"),
        ]
        for body, part in put_link:
            with self.subTest(body=str(body)[:100]):
                problem = self.check(self.target.api.put(f"/links/{a}", body), 400)
                self.assertIn(part, problem["detail"])
                self.assertEqual(problem["status"], 400)
        self.check(self.target.api.get(f"/links/{a}"), 404)
        self.check(self.target.api.put("/links/no-uuid", good), 400)
        others = [
            ("PUT", "/links", {"revision": 1 << 40, "links": [{"id": a, **good}, {"id": b, **good}]}, 400),
            ("PUT", "/links", {"revision": 1 << 40, "links": [{}]}, 400),
            ("PUT", f"/links/{b}", {**good, "iqn": self.link["iqn"]}, 409),
            ("PUT", f"/links/{self.link['id']}", {**good, "revision": 0}, 409),
            ("POST", f"/links/{a}/boots", {"boot_id": a}, 404),
            ("POST", f"/links/{self.link['id']}/boots", {}, 400),
            ("POST", f"/links/{self.link['id']}/boots", {"boot_id": "x"}, 400),
            ("POST", f"/links/{self.link['id']}/boots", {"boot_id": a, "initiator": "a\nb"}, 400),
            ("POST", f"/links/{self.link['id']}/reset", {"force": "yes"}, 400),
            ("POST", f"/links/{a}/reset", {}, 404),
            ("POST", f"/links/{a}/commit", {"id": a}, 404),
            ("POST", f"/links/{self.link['id']}/commit", {}, 400),
            ("POST", "/imports", {}, 400),
            ("POST", "/imports", {"id": "x", "upload": "y"}, 404),
            ("POST", "/imports", {"id": a, "upload": "none"}, 404),
            ("POST", "/imports", {"id": a, "upload": "../links.json"}, 400),
            ("POST", "/imports", {"id": a, "path": "relative"}, 400),
            ("POST", "/imports", {"id": a, "path": "/no/such/file"}, 404),
            ("POST", "/imports", {"id": a, "path": "/x", "upload": "y"}, 400),
            ("POST", "/imports", {"id": a, "upload": "y", "format": "vdi"}, 400),
            ("PUT", "/uploads/..%2fx", b"x", 400),
            ("PUT", "/uploads/.hidden", b"x", 400),
            ("GET", f"/imports/{a}", None, 404),
            ("GET", "/versions/abc", None, 404),
            ("DELETE", "/versions/..%2f..%2flinks.json", None, 400),
            ("POST", f"/versions/{'0' * 64}/verify", {"id": a}, 404),
            ("GET", "/events?after=x", None, 400),
            ("GET", "/nothing", None, 404),
            ("DELETE", "/links", None, 405),
        ]
        for method, path, body, status in others:
            with self.subTest(method=method, path=path, body=body):
                problem = self.check(self.target.api.request(method, path, body), status)
                self.assertTrue(problem["detail"] and problem["type"] and problem["title"], problem)
        self.assertEqual([view["id"] for view in self.target.api.get("/links").json], [self.link["id"]])
        self.assertEqual(list((self.target.state_dir / "uploads").iterdir()), [])

    def test_what_the_status_and_metrics_say(self):
        status = self.check(self.target.api.get("/status"), 200)
        self.assertEqual((status["portals"], status["links"], status["sessions"]), ([self.target.portal], 1, 1))
        self.assertIn(status["io"], ("io_uring", "threads"))
        self.assertGreater(status["store"]["free_bytes"], 0)
        text = self.target.api.get("/metrics").body.decode()
        names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
        for name in ("goldlink_sessions", "goldlink_commands_total", "goldlink_links_ready", "goldlink_free_bytes"):
            self.assertIn(name, names)
        self.assertEqual(text.count("# TYPE goldlink_links gauge"), 1)


if __name__ == "__main__":
    unittest.main()
