"""Windows through an outage: its hold time (MaxRequestHoldTime, 60 s) with a login every 5 s, endlessly.

Requests that were under way are sent again after the login, in a session of the same ISID. What the
target acknowledged before it was killed must be there, what it did not may be old or new.
"""

import os
import struct
import unittest

from harness import iscsi, processes, target_case as target
from windows import Case, MIB

HOLD_TIME_SECONDS = 60


def write_10(lba, count):
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, count, 0)


def read_10(lba, count):
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, count, 0)


class Outage(Case):
    def reconnect(self, **options):
        """A login as often as it takes, in the hold time."""
        def once():
            try:
                return self.log_in(**options)
            except (OSError, iscsi.Closed, iscsi.LoginFailed):
                return None
        return processes.wait_until(once, "Windows is logged in again", HOLD_TIME_SECONDS, step_seconds=0.1)

    def outage(self, policy):
        link = self.target.put_link(f"pc-{policy}", self.version, policy)
        boot = self.target.boot(link)
        who = {"link": link, "username": boot["username"], "secret": boot["secret"]}
        windows = self.log_in(**who)
        content = bytearray(self.image)
        for number in range(8):
            data = os.urandom(65536)
            self.good(windows.exchange(write_10(number * 512, 128), data=data))
            content[number * 262144:number * 262144 + 65536] = data
        # A write of 1 MiB whose data the target has asked for, and a read whose answer nobody took.
        data = os.urandom(MIB)
        windows.send(windows.command_pdu(write_10(8192, 2048), data=data, immediate_data=data[:65536]))
        self.assertEqual(windows.receive().opcode, iscsi.R2T)
        windows.send(windows.command_pdu(read_10(0, 2048), MIB))
        self.target.daemon.kill()
        self.assertTrue(windows.is_closed())
        self.target.daemon.start(wait_ready=False)
        again = self.reconnect(**who)
        view = self.target.view(link)
        self.assertEqual((view["generation"], len(view["sessions"])), (boot["generation"], 1))
        half = self.good(again.exchange(read_10(8192, 2048), MIB), MIB)
        old = bytes(content[8192 * 512:8192 * 512 + MIB])
        for at in range(0, MIB, 4096):
            self.assertIn(half[at:at + 4096], (old[at:at + 4096], data[at:at + 4096]), f"block at {at} is neither")
        # Windows sends both again.
        self.good(again.exchange(write_10(8192, 2048), data=data))
        content[8192 * 512:8192 * 512 + MIB] = data
        for at in range(0, len(content), MIB):
            read = self.good(again.exchange(read_10(at // 512, 2048), MIB), MIB)
            self.assertEqual(read, bytes(content[at:at + MIB]), f"MiB {at // MIB}")

    def test_a_killed_target_of_a_discard_link(self):
        self.outage("discard")

    def test_a_killed_target_of_a_keep_link(self):
        self.outage("keep")

    def test_a_dropped_connection_while_the_target_lives(self):
        boot = self.target.boot(self.link)
        who = {"username": boot["username"], "secret": boot["secret"]}
        windows = self.log_in(**who)
        data = os.urandom(MIB)
        self.good(windows.exchange(write_10(0, 128), data=data[:65536]))
        windows.send(windows.command_pdu(write_10(1024, 2048), data=data, immediate_data=data[:65536]))
        self.assertEqual(windows.receive().opcode, iscsi.R2T)
        # The cable is pulled: the target hears nothing and still has the session.
        sessions = self.target.view(self.link)["sessions"]
        self.assertEqual(len(sessions), 1)
        again = self.reconnect(**who)  # the same ISID: 6.3.5, reinstatement
        self.assertTrue(windows.is_closed())
        self.good(again.exchange(write_10(1024, 2048), data=data))
        self.assertEqual(self.good(again.exchange(read_10(0, 128), 65536)), data[:65536])
        self.assertEqual(self.good(again.exchange(read_10(1024, 2048), MIB)), data)
        self.assertEqual(len(self.target.view(self.link)["sessions"]), 1)

    def test_a_planned_stop_asks_for_the_logout(self):
        windows = self.log_in()
        self.target.daemon.stop()
        said = []
        try:
            while True:
                pdu = windows.receive()
                said.append((pdu.opcode, pdu.bhs[36]))
        except iscsi.Closed:
            pass
        # 11.9.1: event 1 asks for a logout, 2 and 3 announce the end.
        self.assertTrue(said, "the target went without a word")
        self.assertTrue(all(opcode == iscsi.ASYNC and event in (1, 2, 3) for opcode, event in said), said)
        self.target.daemon.start(wait_ready=False)
        self.reconnect()

    def test_outages_one_after_another(self):
        """CHAP by the link's own credential, not a boot's."""
        windows = self.log_in()
        self.good(windows.exchange(write_10(0, 1), data=b"w" * 512))
        for _ in range(3):
            self.target.daemon.kill()
            self.target.daemon.start(wait_ready=False)
            windows = self.reconnect(username="user", secret=target.SECRET)
            self.assertEqual(self.good(windows.exchange(read_10(0, 1), 512)), b"w" * 512)


if __name__ == "__main__":
    unittest.main()
