"""Taking a disk that keeps what is written to it to another version, at goldlink-target."""

import os
import struct
import unittest
import uuid

from harness import iscsi, processes, target_case as target
from harness.target_case import run

MIB = 1 << 20
BLOCK = 4096
BLOCKS = 16 * MIB // BLOCK


class Rebase(processes.TestCase):
    """The image: 12 MiB of data, 4 MiB of zeros; partition 1 is blocks 16 to 2047, 2 the rest. The newer version
    changes blocks 2100 and 2140, and 3200 in the zeros."""

    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        entry = lambda first, end: struct.pack("<B3sB3sII", 0, bytes(3), 0x83, bytes(3), first * 8, (end - first) * 8)  # noqa: E731
        self.content = (bytes(446) + entry(16, 2048) + entry(2048, BLOCKS) + bytes(32) + b"\x55\xaa" +
                        os.urandom(12 * MIB - 512) + bytes(4 * MIB))
        self.version = self.target.import_image(self.content)
        self.newer = self.changed(2100, 2140, 3200)
        self.next = self.target.import_image(self.newer, "next.raw")

    def changed(self, *blocks, content=None):
        content = bytearray(content or self.content)
        for at in blocks:
            content[at * BLOCK:(at + 1) * BLOCK] = bytes([at % 250 + 1]) * BLOCK
        return bytes(content)

    def login(self, link):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], "user", target.SECRET)
        try:
            initiator.scsi(bytes(6))
        except iscsi.CheckCondition as told:  # power on
            self.assertEqual(told.key, 6)
        return initiator

    def logout(self, link, initiator):
        initiator.logout()
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")

    def unmap(self, initiator, block, count):
        initiator.scsi(bytes([0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]), data=b"\0\x16\0\x10\0\0\0\0" +
                       (block * 8).to_bytes(8, "big") + (count * 8).to_bytes(4, "big") + bytes(4))

    def write(self, link, blocks, byte=0xEE):
        initiator = self.login(link)
        for at in blocks:
            initiator.write(at * 8, bytes([byte]) * BLOCK)
        self.logout(link, initiator)

    def start(self, link, take, lun=0, to=None, **more):
        return self.target.api.post(f"/links/{link['id']}/rebase", {
            "id": str(uuid.uuid4()), "lun": lun, "from": self.version, "version": to or self.next, "take": take, **more})

    def rebase(self, link, take, **more):
        report = self.target.task(self.start(link, take, **more))
        self.assertEqual(report["state"], "done", report)
        return report["rebase"]

    def refused(self, link, take, says, **more):
        report = self.target.task(self.start(link, take, **more))
        self.assertEqual(report["state"], "failed", report)
        self.assertIn(says, report["error"]["message"])

    def content_of(self, link):
        copy = self.folder / "copy.raw"
        run("qemu-img", "convert", "-O", "raw", self.target.url(link), copy)
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the reader has gone")
        return copy.read_bytes()

    def put_again(self, link, version):
        body = self.target.link_body(link["alias"], version, link["disks"][0]["policy"])
        return self.target.api.put(f"/links/{link['id']}", body)

    def overlays(self, link):
        return sorted(path.name for path in (self.target.state_dir / "overlays" / link["id"]).iterdir())

    def test_fresh_starts_from_the_new_version_and_drops_what_was_written(self):
        for policy in ("keep", "super"):
            with self.subTest(policy=policy):
                link = self.target.put_link(f"pc-{policy}", self.version, policy)
                self.write(link, (2100, 50))
                done = self.rebase(link, "fresh")
                self.assertEqual((done["take"], done["already"], done["mine_bytes"], done["both_bytes"]),
                                 ("fresh", False, 2 * BLOCK, BLOCK))
                self.assertEqual(self.content_of(link), self.newer)
                view = self.target.view(link)
                self.assertEqual((view["disks"][0]["version"], view["running"][0]["version"]), (self.next, self.next))
                self.assertEqual(view["overlay"]["used_bytes"], 0)
                processes.wait_until(lambda: len(self.overlays(link)) == 1, "the old overlay is gone")
                self.target.restart_after_kill()
                self.assertEqual(self.content_of(link), self.newer)

    def test_written_lays_what_was_written_over_the_new_version(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        initiator = self.login(link)
        written = {50: 0xA1, 60: 0xA2, 1500: 0xA3}
        for at, byte in written.items():
            initiator.write(at * 8, bytes([byte]) * BLOCK)
        initiator.write(50 * 8 + 1, b"\xA9" * 512)       # a part of a block
        self.unmap(initiator, 100, 300)                 # stays zero, whatever the new version has there
        initiator.write(70 * 8, b"\1" * BLOCK)           # and back to what the image has: not written
        initiator.write(70 * 8, self.content[70 * BLOCK:71 * BLOCK])
        initiator.write(3200 * 8, bytes(BLOCK))         # zeros over zeros: not written either
        self.logout(link, initiator)
        expected = bytearray(self.newer)
        for at, byte in written.items():
            expected[at * BLOCK:(at + 1) * BLOCK] = bytes([byte]) * BLOCK
        expected[50 * BLOCK + 512:50 * BLOCK + 1024] = b"\xA9" * 512
        expected[100 * BLOCK:400 * BLOCK] = bytes(300 * BLOCK)
        done = self.rebase(link, "written")
        self.assertEqual(done["both_bytes"], 0)
        self.assertEqual(self.content_of(link), bytes(expected))
        processes.wait_until(lambda: len(self.overlays(link)) == 1, "the old overlay is gone")
        self.target.restart_after_kill()
        self.assertEqual(self.content_of(link), bytes(expected))
        # The registry hears of it and says the same.
        self.check(self.put_again(link, self.next), 200)
        self.assertEqual(self.put_again(link, self.version).status, 409)
        # It goes on as any overlay does.
        self.write(link, (50, 90), 0xB7)
        for at in (50, 90):
            expected[at * BLOCK:(at + 1) * BLOCK] = b"\xB7" * BLOCK
        self.target.restart_after_kill()
        self.assertEqual(self.content_of(link), bytes(expected))

    def test_what_both_changed_is_refused_unless_forced(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        self.write(link, (2100, 50, 3200))
        self.refused(link, "written", "both changed 8192 bytes in 2 places")
        self.assertEqual(self.content_of(link), self.with_blocks(self.content, 2100, 50, 3200))
        self.assertEqual(len(self.overlays(link)), 1)
        self.assertEqual(self.rebase(link, "written", force=True)["both_bytes"], 2 * BLOCK)
        self.assertEqual(self.content_of(link), self.with_blocks(self.newer, 2100, 50, 3200))

    def test_what_both_changed_of_one_partition_is_refused_unless_forced(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        self.write(link, (50, 2500))
        self.refused(link, "written", "both changed partition 2, in different places")
        found = self.check(self.target.api.post(f"/links/{link['id']}/compare", {"version": self.next}), 200)
        self.assertEqual((found["both_bytes"], found["partitions"]), (0, [
            {"number": 2, "offset_bytes": 8 * MIB, "length_bytes": 8 * MIB, "mine_bytes": BLOCK, "theirs_bytes": 3 * 65536}]))
        self.rebase(link, "written", force=True)
        self.assertEqual(self.content_of(link), self.with_blocks(self.newer, 50, 2500))

    def with_blocks(self, content, *blocks, byte=0xEE):
        content = bytearray(content)
        for at in blocks:
            content[at * BLOCK:(at + 1) * BLOCK] = bytes([byte]) * BLOCK
        return bytes(content)

    def test_sizes_may_grow_with_what_was_written_and_shrink_without(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        self.write(link, (50, 2047))
        smaller = self.target.import_image(self.content[:4 * MIB], "small.raw")
        self.refused(link, "written", "fewer than", to=smaller)
        larger = self.newer + os.urandom(4 * MIB)
        version = self.target.import_image(larger, "large.raw")
        self.rebase(link, "written", to=version)
        self.assertEqual(self.content_of(link), self.with_blocks(larger, 50, 2047))
        other = self.target.put_link("pc-002", self.version, "keep")
        self.write(other, (5,))
        self.rebase(other, "fresh", to=smaller)
        self.assertEqual(self.content_of(other), self.content[:4 * MIB])

    def test_a_running_disk_a_discard_one_and_other_versions_are_refused(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        initiator = self.login(link)
        initiator.write(5 * 8, b"\xEE" * BLOCK)
        for take in ("fresh", "written"):
            self.refused(link, take, f"in use by {initiator.name} at 127.0.0.1")
        self.assertEqual(initiator.read(5 * 8, 8), b"\xEE" * BLOCK)
        self.logout(link, initiator)
        self.refused(link, "fresh", "cannot open version", to="0" * 64)
        self.refused(link, "fresh", "no disk with lun 3", lun=3)
        report = self.target.task(self.target.api.post(f"/links/{link['id']}/rebase", {
            "id": str(uuid.uuid4()), "from": "1" * 64, "version": self.next, "take": "fresh"}))
        self.assertIn("meanwhile", report["error"]["message"])
        self.assertEqual(self.content_of(link), self.with_blocks(self.content, 5))
        plain = self.target.put_link("pc-002", self.version, "discard")
        self.refused(plain, "fresh", "takes a new version at its next boot by itself")
        self.check(self.target.api.post(f"/links/{uuid.uuid4()}/rebase", {
            "id": str(uuid.uuid4()), "from": self.version, "version": self.next, "take": "fresh"}), 404)
        for wrong in ({"take": "both"}, {"more": 1}, {"lun": 256}, {"version": "x"}, {"force": 1}):
            body = {"id": str(uuid.uuid4()), "from": self.version, "version": self.next, "take": "fresh", **wrong}
            self.check(self.target.api.post(f"/links/{link['id']}/rebase", body), 400)

    def test_the_same_rebase_again_drops_nothing_that_was_written_since(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        self.write(link, (5,))
        self.rebase(link, "fresh")
        self.write(link, (6,), 0xC3)
        self.assertTrue(self.rebase(link, "fresh")["already"])
        self.assertEqual(self.content_of(link), self.with_blocks(self.newer, 6, byte=0xC3))

    def test_a_prepared_boot_and_persistent_reservations(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        boot = self.target.boot(link)
        initiator = self.login(link)
        initiator.write(5 * 8, b"\xEE" * BLOCK)
        key = bytes(7) + b"\x5A"
        initiator.scsi(bytes([0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0]),  # REGISTER with APTPL
                       data=bytes(8) + key + bytes(4) + b"\1" + bytes(3))
        self.logout(link, initiator)
        self.rebase(link, "written")
        # Its disk is not the one that the boot was prepared for.
        late = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(late.close)
        with self.assertRaises(iscsi.LoginFailed):
            late.login(link["iqn"], boot["username"], boot["secret"])
        again = self.login(link)
        keys = again.scsi(bytes([0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0]), read_length=64)
        self.assertIn(key, keys)
        self.assertEqual(again.read(5 * 8, 8), b"\xEE" * BLOCK)

    def test_one_disk_of_several_and_the_others_stay(self):
        disks = [{"lun": lun, "version": self.version, "policy": policy, "quota_bytes": None}
                 for lun, policy in ((0, "discard"), (1, "keep"), (2, "keep"))]
        body = {**self.target.link_body("pc-001", self.version), "disks": disks}
        link = self.check(self.target.api.put(f"/links/{uuid.uuid4()}", body), 200)
        for lun in (0, 1, 2):
            target.qemu_io(self.target.url(link, lun=lun), "write -P 0xEE 20k 4k", "flush")
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "nobody is logged in")
        self.rebase(link, "written", lun=1)
        for lun in (0, 1, 2):
            target.qemu_io(self.target.url(link, lun=lun), "read -P 0xEE 20k 4k",
                           f"read -P {2140 % 250 + 1} 8560k 4k" if lun == 1 else "read 8560k 4k")
        self.assertEqual([disk["version"] for disk in self.target.view(link)["running"]],
                         [self.version, self.next, self.version])

    def test_where_the_state_cannot_be_saved_the_disk_stays_what_it_was(self):
        """Nothing may be dropped that the state file still names: it is what a restart goes by."""
        link = self.target.put_link("pc-001", self.version, "super")
        self.write(link, (5,))
        blocked = self.target.state_dir / "links.json.new"  # what the next state is written to

        def block():  # the state of before may be written just now
            try:
                blocked.mkdir()
            except FileExistsError:
                return False
            return True

        for kind in ("fresh", "written", "commit"):
            with self.subTest(kind=kind):
                processes.wait_until(block, "nothing is being saved")
                try:
                    if kind == "commit":
                        report = self.target.task(self.target.api.post(f"/links/{link['id']}/commit", {"id": str(uuid.uuid4())}))
                        self.assertIn("stays what it was", report["error"]["message"])
                    else:
                        self.refused(link, kind, "stays what it was")
                    self.assertTrue(self.target.view(link)["ready"])
                    self.target.daemon.kill()
                finally:
                    blocked.rmdir()
                self.target.start()
                self.assertEqual(self.content_of(link), self.with_blocks(self.content, 5))
                self.assertEqual(self.overlays(link), ["lun0-g1"])
        self.rebase(link, "written")
        self.assertEqual(self.content_of(link), self.with_blocks(self.newer, 5))

    def test_killed_at_any_step_it_is_the_old_disk_or_the_new_one(self):
        """The task runs on after the restart. What counts: no moment leaves a mixture, or loses what was written."""
        blocks = list(range(20, 36)) + list(range(1000, 1200)) + list(range(1500, 1700))
        expected = self.with_blocks(self.newer, *blocks)
        state = self.target.state_dir / "links.json"
        steps = {
            "accepted": lambda folder: True,
            "the new overlay's folder is made": lambda folder: (folder / "lun0-g2").exists(),
            "its journal is there": lambda folder: (folder / "lun0-g2/journal").exists(),
            "its reservations are there": lambda folder: (folder / "lun0-g2/unit.json").exists(),
            "the state names it": lambda folder: "lun0-g2" in state.read_text(),
            "the old one is gone": lambda folder: not (folder / "lun0-g1").exists(),
        }
        for number, (step, reached) in enumerate(steps.items()):
            with self.subTest(step=step):
                link = self.target.put_link(f"pc-{number:03}", self.version, "keep")
                self.write(link, blocks)
                folder = self.target.state_dir / "overlays" / link["id"]
                started = self.check(self.start(link, "written"), 202)
                while not reached(folder):
                    pass
                self.target.restart_after_kill()
                done = processes.wait_until(
                    lambda: (now := self.target.api.get(f"/imports/{started['id']}").json) and  # noqa: B023
                    now.get("state") == "done" and now, "the task ran again")
                self.assertEqual(done["rebase"]["version"], self.next)
                self.assertEqual(self.content_of(link), expected)
                processes.wait_until(lambda: len(self.overlays(link)) == 1, "one overlay is left")  # noqa: B023
                self.check(self.target.api.delete(f"/links/{link['id']}"), 204)


if __name__ == "__main__":
    unittest.main()
