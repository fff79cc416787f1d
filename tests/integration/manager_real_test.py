"""The manager with the real goldlink-target and goldlink-pxe: what it promises is what an initiator
finds, and boots go on without it."""

import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

import pxe_wire as wire  # noqa: E402
from harness.openapi import Contract  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.processes import Api, Daemon, free_port, wait_until  # noqa: E402
from manager_case import BASE, ManagerCase  # noqa: E402
from pxe_lan import Lan, inside  # noqa: E402

SERVER, CLIENT = "10.77.0.1", "10.77.0.50"
MIB = 1 << 20


class Real(ManagerCase):
    """PostgreSQL, target, pxe (in a namespace of its own, for its ports) and manager, all real."""

    @classmethod
    def setUpClass(cls):
        import tempfile
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.server = Postgres().start()
        cls.addClassCleanup(cls.server.remove)
        cls.database_url = cls.server.create_database("goldlink")
        cls.lan = Lan()
        cls.addClassCleanup(cls.lan.close)
        cls.server_host = cls.lan.host("srv", f"{SERVER}/24")
        cls.client_host = cls.lan.host("cli", f"{CLIENT}/24")
        cls.portal = f"127.0.0.1:{free_port()}"
        cls.target_control = Api(f"unix:{cls.folder}/target.sock")
        cls.target_daemon = cls.start_target()
        pxe = Daemon("goldlink-pxe",
                     ["--state-dir", cls.folder / "pxe", "--control", f"unix:{cls.folder}/pxe.sock", "--target-control",
                      f"unix:{cls.folder}/target.sock", "--interface", "eth0", "--http", "0.0.0.0:8081", "--mode", "proxy"],
                     cls.folder, wrapper=("ip", "netns", "exec", cls.server_host))
        cls.addClassCleanup(pxe.stop)
        pxe.start()
        cls.pxe_control = Api(f"unix:{cls.folder}/pxe.sock")
        cls.start_manager_again()

    @classmethod
    def start_target(cls):
        daemon = Daemon("goldlink-target",
                        ["--state-dir", cls.folder / "target", "--control", f"unix:{cls.folder}/target.sock", "--portal",
                         cls.portal, "--reactors", "1", "--reserve", str(16 * MIB)], cls.folder)
        cls.addClassCleanup(daemon.stop)
        return daemon.start()

    @classmethod
    def start_manager_again(cls):
        port = free_port()
        cls.manager = Daemon("goldlink-manager",
                             ["--state-dir", cls.folder / "manager", "--listen", f"127.0.0.1:{port}", "--database-url",
                              cls.database_url, "--target-control", f"unix:{cls.folder}/target.sock", "--pxe-control",
                              f"unix:{cls.folder}/pxe.sock"], cls.folder)
        cls.addClassCleanup(cls.manager.stop)
        cls.manager.start()
        cls.address = f"http://127.0.0.1:{port}"
        cls.token = (cls.folder / "manager" / "admin-token").read_text().strip()
        cls.contract = Contract(Api(cls.address).get(f"{BASE}/openapi.json").json)
        cls.seen = set()
        cls.api = cls.client(cls.token)

    def content(self, size_bytes=4 * MIB):
        """A disk that says in each 4 KiB block which it is."""
        return b"".join(number.to_bytes(8, "big") * 512 for number in range(size_bytes // 4096))

    def upload(self, image, content=None, query="?format=raw", state="done"):
        return super().upload(image, content, query, state)

    def run_tool(self, *command, fails=False):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode != 0, fails, f"{command}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def read_disk(self, url, offset, length):
        out = self.folder / f"{self.name}.read"
        self.run_tool("qemu-img", "dd", "-f", "raw", "-O", "raw", "bs=4096", f"skip={offset // 4096}",
                      f"count={(offset + length) // 4096}", f"if={url}", f"of={out}")
        data = out.read_bytes()[:length]
        out.unlink()
        return data

    def write_disk(self, url, offset, length, byte):
        self.run_tool("qemu-io", "-f", "raw", "-c", f"write -P {byte} {offset} {length}", "-c", "flush", url)

    def test_an_uploaded_image_is_a_disk_at_the_links_url(self):
        content = self.content()
        self.upload(self.name, content)
        version = self.api.get(f"/images/{self.name}").json["versions"][0]
        self.assertEqual((version["state"], version["size_bytes"]), ("ready", len(content)))
        lease = self.add_lease(self.name)
        self.assertEqual(lease["portal"], self.portal)
        self.assertIn("GOLDLINK", self.run_tool("iscsi-inq", lease["url"]).upper())
        self.assertIn(f"Total size:{len(content)}", self.run_tool("iscsi-readcapacity16", lease["url"]))
        self.assertEqual(self.read_disk(lease["url"], MIB, 64 * 1024), content[MIB:MIB + 64 * 1024])
        self.run_tool("iscsi-inq", lease["url"].replace(lease["secret"], "wrongsecret12345"), fails=True)
        self.wait_event("login_refused")

    def test_leases_do_not_see_each_other_and_reset_makes_fresh(self):
        content = self.content()
        self.upload(self.name, content)
        one, other = self.add_lease(self.name), self.add_lease(self.name, policy="keep")
        for lease in (one, other):
            self.write_disk(lease["url"], 8192, 4096, 0xAB)
        self.assertEqual(self.read_disk(other["url"], 8192, 4096), b"\xab" * 4096)
        third = self.add_lease(self.name)
        self.assertEqual(self.read_disk(third["url"], 8192, 4096), content[8192:12288])
        wait_until(lambda: not self.api.get(f"/links/{other['id']}").json["sessions"], "the session has ended")
        self.check(self.api.post(f"/links/{other['id']}/reset"), 200)
        self.assertEqual(self.read_disk(other["url"], 8192, 4096), content[8192:12288])

    def test_a_removed_link_is_gone_at_once(self):
        self.upload(self.name, self.content())
        lease = self.add_lease(self.name)
        self.check(self.api.delete(f"/links/{lease['id']}"), 204)
        self.run_tool("iscsi-inq", lease["url"], fails=True)
        self.check(self.api.delete(f"/images/{self.name}"), 204)
        wait_until(lambda: self.target_control.get("/links").json is not None and not any(
            disk["version"] for link in self.target_control.get("/links").json for disk in link["disks"]
            if link["id"] == lease["id"]), "the target forgot the link")

    def test_deleting_an_image_frees_its_data(self):
        import random
        self.upload(self.name, random.randbytes(MIB))
        digest = self.api.get(f"/images/{self.name}").json["versions"][0]["digest"]
        self.check(self.api.delete(f"/images/{self.name}"), 204)
        wait_until(lambda: digest not in [v["digest"] for v in self.target_control.get("/versions").json], "the data is gone")

    def test_verify_finds_nothing_wrong(self):
        self.upload(self.name, self.content())
        task = self.check(self.api.post(f"/images/{self.name}/versions/1/verify"), 202)
        self.assertEqual(self.wait_task(task)["result"], {"findings": []})

    def test_damage_is_named_and_mended_while_a_session_runs(self):
        import random
        content = random.randbytes(MIB)
        self.upload(self.name, content)
        lease = self.add_lease(self.name)
        version = lambda: self.api.get(f"/images/{self.name}").json["versions"][0]  # noqa: E731
        self.assertEqual((version()["damage"], version()["bad_bytes"]), (None, 0))
        for pack in (self.folder / "target/store/packs").iterdir():
            data = pack.read_bytes()
            at = data.find(content[65536:69632])
            if at >= 0:
                with open(pack, "r+b") as file:
                    file.seek(at)
                    file.write(bytes([data[at] ^ 1]))
        task = self.wait_task(self.check(self.api.post(f"/images/{self.name}/versions/1/verify"), 202))
        self.assertEqual(task["message"], "1 findings")
        finding = task["result"]["findings"][0]
        self.assertEqual((finding["why"], finding["links"]), ("corrupt", [f"lease {lease['id']}"]))
        self.assertEqual([(use["image"], use["number"], use["offset_bytes"]) for use in finding["uses"]], [(self.name, 1, 65536)])
        self.assertEqual(version()["bad_bytes"], 65536)
        self.assertIn("1 corrupt chunk", version()["damage"])
        self.assertIn("1 corrupt chunk", self.api.get(f"/links/{lease['id']}").json["disks"][0]["problem"])
        self.run_tool("qemu-io", "-f", "raw", "-r", "-c", "read 65536 4096", lease["url"], fails=True)
        self.assertEqual(self.read_disk(lease["url"], 0, 65536), content[:65536])
        wait_until(lambda: any(event["kind"] == "image_damaged" and event["data"]["images"] == [f"{self.name}@1"]
                               for event in self.api.get("/events?limit=1000").json["items"]), "the event")
        task = self.check(self.api.put(f"/images/{self.name}/versions/1/repair?format=raw", content), 202)
        self.assertEqual(self.wait_task(task)["result"], {"bad_chunks": 1, "mended_chunks": 1, "manifest_mended": False})
        self.assertEqual(self.read_disk(lease["url"], 0, MIB), content)
        self.assertIsNone(self.api.get(f"/links/{lease['id']}").json["disks"][0]["problem"])

    def test_other_formats_are_detected(self):
        raw, qcow2 = self.folder / f"{self.name}.raw", self.folder / f"{self.name}.qcow2"
        content = self.content(2 * MIB)
        raw.write_bytes(content)
        self.run_tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
        self.upload(self.name, qcow2.read_bytes(), query="")
        lease = self.add_lease(self.name)
        self.assertEqual(self.read_disk(lease["url"], 0, 2 * MIB), content)

    def test_a_file_that_is_no_disk_fails_with_a_reason(self):
        letter = b"this is a letter, not a disk" * 1000
        refused = self.check(self.api.put(f"/images/{self.name}/content?filename=letter.img", letter), 400, "invalid")
        self.assertIn("letter.img is no disk image", refused["detail"])
        self.assertEqual(self.api.get(f"/images/{self.name}").json["versions"][0]["state"], "failed")
        self.assertEqual(self.api.get(f"/images/{self.name}").json["channels"], {})

    def test_a_broken_image_fails_with_a_reason(self):
        whole = self.folder / f"{self.name}.vhd"
        self.run_tool("qemu-img", "create", "-f", "vpc", whole, "16M")
        task = self.upload(self.name, whole.read_bytes()[:700], query="?format=vhd", state="failed")
        self.assertTrue(task["error"])
        self.assertEqual(self.api.get(f"/images/{self.name}").json["versions"][0]["state"], "failed")
        wait_until(lambda: not list((self.folder / "target").glob("**/import-*")), "the spooled file is dropped")

    def test_kept_data_outlives_a_killed_target(self):
        self.upload(self.name, self.content())
        lease = self.add_lease(self.name, policy="keep")
        self.write_disk(lease["url"], 4096, 4096, 0xCD)
        self.target_daemon.kill()
        type(self).target_daemon = self.start_target()
        wait_until(lambda: self.client(None).get("/health").status == 200, "the target is back")
        self.assertEqual(self.read_disk(lease["url"], 4096, 4096), b"\xcd" * 4096)

    def script(self, mac):
        with inside(self.client_host):
            answer = Api(f"http://{SERVER}:8081").get(f"/boot?mac={mac}&arch=bios&ip={CLIENT}")
        self.assertEqual(answer.status, 200, answer)
        return answer.body.decode()

    def log_in(self, script):
        """Logs in as iPXE would with what the script says."""
        def word(name):
            return re.search(rf"^set {name} (\S+)$", script, re.MULTILINE)[1]
        iqn = re.search(r"iscsi:[^\s:]*:[^\s:]*:\d*:[0-9a-f]*:(iqn\S+)", script)[1]
        self.run_tool("iscsi-inq", "-i", word("initiator-iqn"),
                      f"iscsi://{word('username')}%{word('password')}@{self.portal}/{iqn}/0")

    def discover(self, mac, ipxe=False):
        client = wire.DhcpClient(self.client_host, 68)
        try:
            options = wire.ipxe_options(0) if ipxe else wire.pxe_options(0)
            client.exchange(wire.dhcp_packet(mac, wire.DISCOVER, *options), count=1)
        finally:
            client.close()

    def booting_client(self):
        self.upload(self.name, self.content())
        client = self.add_client(self.name)
        self.check(self.api.post("/links", {"client": self.name, "image": self.name}), 201)
        wait_until(lambda: any(c["id"] == client["id"] and c["link_id"] for c in self.pxe_control.get("/table").json["clients"]),
                   "pxe has the client")
        return client["macs"][0]

    def test_a_boot_has_its_timeline(self):
        mac = self.booting_client()
        self.discover(mac)
        self.discover(mac, ipxe=True)
        self.log_in(self.script(mac))
        boot = wait_until(lambda: (boots := self.api.get_all(f"/clients/{self.name}/boots"))
                          and any(s["stage"] == "login" for s in boots[0]["stages"]) and boots[0], "the login is seen")
        self.assertEqual([stage["stage"] for stage in boot["stages"]], ["dhcp", "ipxe", "script", "login"])
        self.assertEqual((boot["state"], boot["firmware"]), ("booting", "bios"))
        self.assertEqual(len(self.api.get_all(f"/clients/{self.name}/boots")), 1)

    def test_an_unknown_machine_registers_and_is_approved(self):
        self.upload(self.name, self.content())
        mac = self.random_mac()
        self.script(mac)
        pending = wait_until(lambda: self.api.get_all(f"/clients?mac={mac}"), "it is registered")[0]
        self.assertEqual(pending["state"], "pending")
        self.check(self.api.post(f"/clients/{pending['name']}/approve"), 200)
        self.check(self.api.post("/links", {"client": pending["name"], "image": self.name}), 201)
        wait_until(lambda: "sanboot" in self.script(mac) or "sanhook" in self.script(mac), "its script boots the disk")

    def test_boots_go_on_without_database_and_manager(self):
        mac = self.booting_client()
        self.server.stop()
        try:
            wait_until(lambda: self.client(None).get("/health").json["database"] != "ok", "the manager notices")
            self.check(self.api.get("/clients"), 503, "database-unavailable")
            self.log_in(self.script(mac))
            self.manager.stop()
            self.log_in(self.script(mac))
        finally:
            self.server.start()
            if self.manager.process is None:
                self.start_manager_again()
        wait_until(lambda: self.client(None).get("/health").status == 200, "everything is back", 60)
        wait_until(lambda: len(self.api.get_all(f"/clients/{self.name}/boots")) == 2, "what happened meanwhile is told")


if __name__ == "__main__":
    unittest.main()
