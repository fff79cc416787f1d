"""Persistent reservations of goldlink-target: with APTPL they outlive a killed target."""

import os
import struct
import unittest

from harness import iscsi, processes, target_case as target

MIB = 1 << 20
REGISTER, RESERVE, CLEAR = 0, 1, 3
READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES = 0, 1, 2
WRITE_EXCLUSIVE = 1
APTPL = 1
KEY, OTHER_KEY = 0x1111, 0x2222
RESERVATION_CONFLICT = 0x18
ISID, OTHER_ISID = bytes.fromhex("800000000001"), bytes.fromhex("800000000002")


class Reservations(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.version = self.target.import_image(os.urandom(MIB))

    def login(self, link, isid=ISID):
        initiator = iscsi.Initiator(self.target.portal, isid=isid)
        self.addCleanup(initiator.close)
        return initiator.login(link["iqn"], "user", target.SECRET)

    @staticmethod
    def reserve_out(initiator, action, key, action_key=0, flags=APTPL, kind=0):
        cdb = struct.pack(">BBB2xIB", 0x5F, action, kind, 24, 0)
        initiator.scsi(cdb, data=struct.pack(">QQ4xB3x", key, action_key, flags))

    @staticmethod
    def reserve_in(initiator, action):
        return initiator.scsi(struct.pack(">BB5xHB", 0x5E, action, 1024, 0), 1024)

    def keys(self, initiator):
        data = self.reserve_in(initiator, READ_KEYS)
        return [struct.unpack_from(">Q", data, at)[0] for at in range(8, len(data), 8)]

    def hold(self, link):
        """Two registrants, of which the first holds the disk for writing."""
        first, second = self.login(link), self.login(link, OTHER_ISID)
        self.reserve_out(first, REGISTER, 0, KEY)
        self.reserve_out(second, REGISTER, 0, OTHER_KEY)
        self.reserve_out(first, RESERVE, KEY, kind=WRITE_EXCLUSIVE)
        return first, second

    def check_survives(self, policy):
        link = self.target.put_link(f"pc-{policy}", self.version, policy)
        self.hold(link)
        self.target.restart_after_kill()
        first, second = self.login(link), self.login(link, OTHER_ISID)
        self.assertEqual(self.keys(first), [KEY, OTHER_KEY])
        self.assertEqual(self.reserve_in(first, READ_RESERVATION)[8:16], struct.pack(">Q", KEY))
        self.assertEqual(self.reserve_in(first, REPORT_CAPABILITIES)[2:4], bytes([0x0D, 0x81]))
        first.write(0, b"A" * 512)
        with self.assertRaises(iscsi.CheckCondition) as refused:
            second.write(0, b"B" * 512)
        self.assertEqual(refused.exception.status, RESERVATION_CONFLICT)
        self.assertEqual(second.read(0, 1), b"A" * 512)

        self.reserve_out(first, CLEAR, KEY)
        self.target.restart_after_kill()
        self.assertEqual(self.keys(self.login(link)), [])

    def test_of_a_kept_disk_survive_a_kill_as_does_their_end(self):
        self.check_survives("keep")

    def test_of_a_discarded_disk_survive_a_kill_as_does_their_end(self):
        self.check_survives("discard")

    def test_without_aptpl_do_not_survive(self):
        link = self.target.put_link("pc-volatile", self.version, "keep")
        self.reserve_out(self.login(link), REGISTER, 0, KEY, flags=0)
        self.target.restart_after_kill()
        self.assertEqual(self.keys(self.login(link)), [])

    def test_end_with_the_overlay(self):
        link = self.target.put_link("pc-reset", self.version, "keep")
        self.hold(link)
        overlays = self.target.state_dir / "overlays" / link["id"]
        [old] = overlays.iterdir()
        self.assertTrue((old / "unit.json").exists())
        (old / "unit.json.new").write_bytes(b"of a save that a kill cut short")
        self.check(self.target.api.post(f"/links/{link['id']}/reset", {"force": True}), 200)
        self.assertEqual(self.keys(self.login(link)), [])
        processes.wait_until(lambda: not old.exists(), "the old overlay is removed with its reservations", 30)

    def test_under_a_name_that_is_no_utf8_do_not_keep_the_disk_from_being_served(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        first, _ = self.hold(link)
        first.write(0, b"A" * 512)
        self.target.daemon.kill()
        [kept] = self.target.state_dir.rglob("unit.json")
        text = kept.read_bytes()
        self.assertIn(b"goldlink.test:initiator", text)
        kept.write_bytes(text.replace(b"goldlink.test:initiator", b"goldlink.test:\xff\xfe"))
        self.target.start()
        initiator = self.login(link)
        self.assertEqual(initiator.read(0, 1), b"A" * 512)
        self.assertEqual(self.keys(initiator), [KEY, OTHER_KEY])

    def test_a_damaged_file_keeps_the_disk_from_being_served_and_says_why(self):
        link = self.target.put_link("pc-damaged", self.version, "keep")
        self.hold(link)
        self.target.daemon.kill()
        [path] = (self.target.state_dir / "overlays" / link["id"]).glob("*/unit.json")
        path.write_text(path.read_text()[:40])
        self.target.start()
        view = self.target.view(link)
        self.assertFalse(view["ready"])
        self.assertIn("unit.json", view["problem"])
        self.assertIn("move it away", view["problem"])
        with self.assertRaises(iscsi.LoginFailed):
            self.login(link)
        self.target.daemon.kill()
        path.unlink()
        self.target.start()
        self.assertEqual(self.keys(self.login(link)), [])


if __name__ == "__main__":
    unittest.main()
