"""Saving a link's disk as a version while its client goes on, at goldlink-target."""

import os
import threading
import unittest
import uuid

from harness import iscsi, processes, target_case as target
from harness.target_case import run

MIB = 1 << 20
BLOCK = 4096


class Save(processes.TestCase):
    def setUp(self):
        super().setUp()
        (self.folder / "ram").mkdir()
        self.target = target.Target(self, "--ram-dir", f"/dev/shm/{self.folder.name}", "--ram-budget", "4MB").start()
        self.addCleanup(lambda: run("rm", "-rf", f"/dev/shm/{self.folder.name}"))
        self.content = os.urandom(2 * MIB) + bytes(14 * MIB)
        self.version = self.target.import_image(self.content)

    def login(self, link):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], "user", target.SECRET)
        try:
            initiator.scsi(bytes(6))
        except iscsi.CheckCondition as told:  # power on
            self.assertEqual(told.key, 6)
        return initiator

    def start_save(self, link, **body):
        return self.target.api.post(f"/links/{link['id']}/save", {"id": str(uuid.uuid4()), **body})

    def save(self, link, **body):
        report = self.target.task(self.start_save(link, **body))
        self.assertEqual(report["state"], "done", report)
        return report

    def content_of(self, version):
        reader = self.target.put_link(f"reader-{uuid.uuid4().hex[:8]}", version)
        copy = self.folder / "copy.raw"
        run("qemu-img", "convert", "-O", "raw", self.target.url(reader), copy)
        return copy.read_bytes()

    def test_a_running_disk_of_any_policy_is_saved_and_its_client_goes_on(self):
        for policy in ("discard", "keep", "super"):
            with self.subTest(policy=policy):
                link = self.target.put_link(f"pc-{policy}", self.version, policy)
                initiator = self.login(link)
                initiator.write(0, b"A" * BLOCK * 2)
                report = self.save(link)
                self.assertEqual((report["base"], report["live"]), (self.version, True))
                initiator.write(8, b"B" * BLOCK)
                self.assertEqual(initiator.read(0, 16), b"A" * BLOCK + b"B" * BLOCK)
                self.assertEqual(self.content_of(report["version"]["digest"]),
                                 b"A" * BLOCK * 2 + self.content[2 * BLOCK:])
                view = self.target.view(link)
                self.assertEqual((view["running"][0]["version"], len(view["sessions"])), (self.version, 1))
                self.assertEqual(view["overlay"]["used_bytes"], 2 * BLOCK)
                initiator.logout()
                processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")
                self.assertFalse(self.save(link)["live"])

    def test_what_is_saved_is_one_moment_of_a_client_that_writes_all_the_time(self):
        """Each block is written once, in order, with one command at a time: a moment has the first n, and no other."""
        link = self.target.put_link("pc-001", self.version)
        initiator = self.login(link)
        initiator.write(0, b"\x01" * (4 * MIB))  # something to read while the client goes on
        first = 4 * MIB // BLOCK
        written, stop = [0], threading.Event()

        def client():
            block = first
            while not stop.is_set() and (block + 1) * BLOCK <= len(self.content):
                initiator.write(block * 8, block.to_bytes(8, "big") * 512)
                initiator.write((block - first) * 8, b"\x02" * BLOCK)  # over what is being read
                block += 1
                written[0] = block - first

        writer = threading.Thread(target=client)
        writer.start()
        try:
            processes.wait_until(lambda: written[0] > 50, "the client writes")
            report = self.save(link)
        finally:
            stop.set()
            writer.join()
        content = self.content_of(report["version"]["digest"])
        count = 0
        while content[(first + count) * BLOCK:(first + count + 1) * BLOCK] == (first + count).to_bytes(8, "big") * 512:
            count += 1
        self.assertGreaterEqual(count, 50)
        self.assertFalse(any(content[(first + count) * BLOCK:]), "nothing of later writes is there")
        overwritten = [content[at * BLOCK:(at + 1) * BLOCK] == b"\x02" * BLOCK for at in range(min(first, written[0]))]
        self.assertIn(sum(overwritten), (count - 1, count))
        self.assertEqual(overwritten[:sum(overwritten)], [True] * sum(overwritten))

    def test_a_reset_a_boot_or_the_links_end_do_not_disturb_a_save(self):
        for disturb in ("reset", "boot", "removal"):
            with self.subTest(disturb=disturb):
                link = self.target.put_link(f"pc-{disturb}", self.version, "discard" if disturb == "boot" else "keep")
                initiator = self.login(link)
                data = os.urandom(MIB)
                for at in range(0, 8):
                    initiator.write(at * MIB // 512, data)
                answer = self.start_save(link)
                if disturb == "reset":
                    self.check(self.target.api.post(f"/links/{link['id']}/reset", {"force": True}), 200)
                elif disturb == "boot":
                    boot = self.target.boot(link)
                    again = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
                    self.addCleanup(again.close)
                    again.login(link["iqn"], boot["username"], boot["secret"])
                else:
                    self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
                report = self.target.task(answer)
                # Whichever came first; what is saved is whole, or the link was gone before the task began.
                if report["state"] == "failed":
                    self.assertEqual((disturb, report["error"]["kind"]), ("removal", "not_found"))
                    continue
                content = self.content_of(report["version"]["digest"])
                self.assertIn(content, (data * 8 + self.content[8 * MIB:], self.content))

    def test_a_killed_target_saves_after_its_restart(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        initiator = self.login(link)
        data = os.urandom(8 * MIB)
        for at in range(0, 8):
            initiator.write(at * MIB // 512, data[at * MIB:(at + 1) * MIB])
        report = self.check(self.start_save(link), 202)
        self.target.restart_after_kill()
        done = processes.wait_until(lambda: (now := self.target.api.get(f"/imports/{report['id']}").json)
                                    and now["state"] == "done" and now, "the task ran again")
        self.assertEqual(self.content_of(done["version"]["digest"]), data + self.content[8 * MIB:])

    def compare(self, link, version, **body):
        return self.target.api.post(f"/links/{link['id']}/compare", {"version": version, **body})

    def test_a_comparison_names_the_blocks_that_both_changed(self):
        changed = bytearray(self.content)
        for at in (3, 5, 6, 40, 41, 3000):  # blocks; 3000 lies where the image is zero
            changed[at * BLOCK] ^= 0xff
        other = self.target.import_image(bytes(changed), "other.raw")
        link = self.target.put_link("pc-004", self.version, "super")
        initiator = self.login(link)
        for at in (5, 6, 7, 41, 100, 3000):
            initiator.write(at * 8, bytes([at % 251 + 1]) * BLOCK)
        initiator.scsi(bytes([0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]),  # UNMAP block 40
                       data=b"\0\x16\0\x10\0\0\0\0" + (40 * 8).to_bytes(8, "big") + (8).to_bytes(4, "big") + bytes(4))
        found = self.check(self.compare(link, other), 200)
        self.assertEqual(found, {
            "base": self.version, "version": other, "mine_bytes": 7 * BLOCK, "theirs_bytes": 3 * 65536,
            "both_bytes": 5 * BLOCK, "range_count": 3, "exact": True,
            "partitions": [{"number": None, "offset_bytes": 0, "length_bytes": 16 * MIB, "mine_bytes": 7 * BLOCK,
                            "theirs_bytes": 3 * 65536}],
            "ranges": [{"offset_bytes": 5 * BLOCK, "length_bytes": 2 * BLOCK},
                       {"offset_bytes": 40 * BLOCK, "length_bytes": 2 * BLOCK},
                       {"offset_bytes": 3000 * BLOCK, "length_bytes": BLOCK}]})
        self.assertEqual(self.check(self.compare(link, self.version), 200)["both_bytes"], 0)
        self.check(self.compare(link, "0" * 64), 404)
        for wrong in ({"lun": 1}, {"lun": 256}, {"more": 1}):
            self.assertIn(self.compare(link, other, **wrong).status, (400, 404))

    def test_what_cannot_be_saved_is_refused(self):
        disks = [{"lun": lun, "version": self.version, "policy": "keep", "quota_bytes": None} for lun in (0, 1)]
        body = {**self.target.link_body("pc-002", self.version), "disks": disks}
        link = self.check(self.target.api.put(f"/links/{uuid.uuid4()}", body), 200)
        failed = self.target.task(self.start_save(link))
        self.assertIn("luns 0, 1; say which", failed["error"]["message"])
        failed = self.target.task(self.start_save(link, lun=2))
        self.assertIn("no disk with lun 2", failed["error"]["message"])
        self.login(link).write(0, b"C" * BLOCK)
        self.assertEqual(self.save(link, lun=0)["base"], self.version)
        self.check(self.target.api.post(f"/links/{uuid.uuid4()}/save", {"id": str(uuid.uuid4())}), 404)
        for wrong in ({"lun": 256}, {"force": True}, {"id": 1}):
            self.check(self.start_save(link, **wrong), 400)

    def test_a_full_overlay_tells_the_client_and_the_save_is_whole(self):
        body = self.target.link_body("pc-003", self.version, "keep")
        body["disks"][0]["quota_bytes"] = 64 * BLOCK
        link = self.check(self.target.api.put(f"/links/{uuid.uuid4()}", body), 200)
        initiator = self.login(link)
        initiator.write(0, b"D" * BLOCK * 64)
        report = self.save(link)
        initiator.write(0, b"E" * BLOCK * 64)  # nothing is held back any more
        self.assertEqual(self.content_of(report["version"]["digest"])[:BLOCK * 64], b"D" * BLOCK * 64)


if __name__ == "__main__":
    unittest.main()
