"""What one peer may take of goldlink-target, and for how long: slow, silent and greedy ones are dropped or
refused, counted by the limit they hit, and nobody else notices. And how sessions are asked to end.

The limits are set low by the options an admin has for them; what waits, waits for an event of the target.
"""

import concurrent.futures
import os
import signal
import struct
import unittest

from harness import iscsi, processes, target_case as target

MIB = 1 << 20


class LimitCase(processes.TestCase):
    def start(self, *arguments):
        self.target = target.Target(self, *arguments).start()
        self.image = os.urandom(4 * MIB)
        self.version = self.target.import_image(self.image)
        self.link = self.target.put_link("pc-001", self.version)
        self.other = self.target.put_link("pc-002", self.version)
        self.bystander = self.login(self.other, "iqn.2026-11.io.goldlink.test:bystander")

    def connect(self, name="iqn.2026-11.io.goldlink.test:initiator"):
        initiator = iscsi.Initiator(self.target.portal, name, iscsi.random_isid())
        self.addCleanup(initiator.close)
        return initiator

    def login(self, link, name="iqn.2026-11.io.goldlink.test:initiator", **options):
        return self.connect(name).login(link["iqn"], "user", target.SECRET, **options)

    def counted(self, family, limit):
        text = self.target.api.get("/metrics").body.decode()
        line = f'goldlink_connections_{family}_total{{limit="{limit}"}} '
        values = [int(entry[len(line):]) for entry in text.splitlines() if entry.startswith(line)]
        self.assertEqual(len(values), 1, f"{line} in {text}")
        return values[0]

    def bystander_is_well(self):
        self.bystander.write(8, b"Z" * 512)
        self.assertEqual(self.bystander.read(8, 1), b"Z" * 512)

    def ended(self, why, link=None):
        """The end of a session of the link; the bystander's does not count."""
        return self.target.wait_event("session_end", why=why, link_id=(link or self.link)["id"])


class Limits(LimitCase):
    def tearDown(self):
        self.bystander_is_well()
        self.assertTrue(self.target.daemon.running())
        super().tearDown()

    def test_a_reader_that_never_reads(self):
        self.start("--stall-timeout", "1")
        slow = self.login(self.link)
        for _ in range(24):  # 96 MiB of answers: more than sockets and the target hold
            slow.send(slow.command_pdu(struct.pack(">BBQIBB", 0x88, 0, 0, 8192, 0, 0), 4 * MIB))
        self.bystander_is_well()
        self.ended("timeout")
        self.assertEqual(self.counted("dropped", "slow_reader"), 1)
        self.assertIn("it has taken next to nothing", self.target.daemon.log())

    def test_a_writer_of_a_byte_at_a_time(self):
        self.start("--stall-timeout", "1")
        slow = self.login(self.link)
        slow.socket.settimeout(0.05)
        pdu = slow.command_pdu(struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 8, 0), data=bytes(4096)).encode()

        def closed():
            """Reading is the pause between bytes: nothing comes until the end."""
            try:
                slow.receive_bytes(1)
            except TimeoutError:
                return False
            except iscsi.Closed:
                return True
            return False

        for byte in pdu[:400]:
            try:
                slow.send_bytes(bytes([byte]))
            except ConnectionError:
                break
            if closed():
                break
        else:
            self.fail("it was not dropped within 400 bytes")
        self.ended("timeout")
        self.assertEqual(self.counted("dropped", "slow_writer"), 1)

    def test_a_write_whose_data_never_comes(self):
        self.start("--stall-timeout", "1")
        slow = self.login(self.link, keys={"ImmediateData": "No"})
        slow.send(slow.command_pdu(struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 8, 0), data=bytes(4096),
                                   immediate_data=b""))
        self.assertEqual(slow.receive().opcode, iscsi.R2T)
        self.assertTrue(slow.is_closed())
        self.ended("timeout")
        self.assertEqual(self.counted("dropped", "slow_writer"), 1)
        self.assertIn("was asked for the data of a write", self.target.daemon.log())

    def test_logins_that_are_not_finished(self):
        self.start("--login-timeout", "1")
        silent, begun, trickling = self.connect(), self.connect(), self.connect()
        begun.login_step(0, 1, False, {"InitiatorName": begun.name, "TargetName": self.link["iqn"],
                                       "AuthMethod": "CHAP"})
        trickling.send_bytes(trickling.login_pdu(0, 1, False, {"InitiatorName": "x" * 40}).encode()[:47])
        for one in (silent, begun, trickling):
            self.assertTrue(one.is_closed())
        self.assertEqual(self.counted("dropped", "login_timeout"), 3)

    def test_sessions_of_one_name_with_one_link(self):
        self.start("--max-sessions-per-initiator", "3")
        for _ in range(3):
            self.login(self.link)
        with self.assertRaises(iscsi.LoginFailed) as refused:
            self.login(self.link)
        self.assertEqual(hex(refused.exception.status), "0x302")
        self.login(self.link, "iqn.2026-11.io.goldlink.test:another")
        self.login(self.other)
        self.assertEqual(self.counted("refused", "sessions_per_initiator"), 1)
        self.assertIn("most sessions", self.target.wait_event("login_refused")["data"]["why"])

    def discover(self):
        return self.connect().login(None, discovery=True)

    def test_discovery_sessions_of_one_address(self):
        self.start("--max-discovery-per-address", "2", "--reactors", "1")
        first = self.discover()
        for _ in range(4):
            self.discover()
        self.assertTrue(first.is_closed())
        processes.wait_until(lambda: self.counted("dropped", "discovery") == 3, "only two are left")
        self.assertEqual(self.discover().send_targets(), [])

    def test_discovery_sessions_end_after_a_while(self):
        self.start("--discovery-timeout", "1")
        self.assertTrue(self.discover().is_closed())
        self.assertEqual(self.counted("dropped", "discovery"), 1)

    def third_connection_is_refused(self, option, limit):
        self.start(option, "2")
        self.login(self.link)
        self.assertTrue(self.connect().is_closed())
        self.assertEqual(self.counted("refused", limit), 1)

    def test_connections_of_one_address(self):
        self.third_connection_is_refused("--max-connections-per-address", "connections_per_address")

    def test_connections_of_all(self):
        self.third_connection_is_refused("--max-connections", "connections")

    def test_logins_a_second(self):
        self.start("--logins-per-second", "1")  # two at once; one of them is the bystander's
        for _ in range(12):
            self.connect()
        processes.wait_until(lambda: self.counted("refused", "logins_per_second") >= 6, "logins are refused")


class Endings(LimitCase):
    def signal_stop(self):
        os.kill(self.target.daemon.pid, signal.SIGTERM)

    def receive_logout_request(self, initiator):
        request = initiator.receive()
        while request.opcode == iscsi.NOP_IN:
            request = initiator.receive()
        self.assertEqual((request.opcode, request.bhs[36]), (iscsi.ASYNC, 1))
        self.assertEqual(request.itt, iscsi.NO_TAG)
        return struct.unpack(">H", request.bhs[42:44])[0]  # Parameter3: seconds to do it in

    def test_a_stop_asks_for_logouts_and_ends_when_they_have_come(self):
        self.start("--stop-grace", "300")  # waiting for it would be this test's time limit
        initiator = self.login(self.link)
        initiator.write(0, b"W" * 4096)
        self.signal_stop()
        self.assertEqual(self.receive_logout_request(initiator), 300)
        self.assertEqual(initiator.read(0, 8), b"W" * 4096)  # served until it logs out
        initiator.logout()
        self.receive_logout_request(self.bystander)
        self.bystander.logout()
        self.assertEqual(self.target.daemon.wait(60), 0)
        # They come back to what they had.
        self.target.start()
        self.ended("logout")
        with iscsi.Initiator(self.target.portal) as again:
            again.login(self.link["iqn"], "user", target.SECRET)
            self.assertEqual(again.read(0, 8), b"W" * 4096)

    def test_a_stop_does_not_wait_longer_for_those_who_ignore_it(self):
        self.start("--stop-grace", "1")
        initiator = self.login(self.link)
        self.signal_stop()
        self.assertEqual(self.receive_logout_request(initiator), 1)
        self.assertTrue(initiator.is_closed())
        self.assertEqual(self.target.daemon.wait(60), 0)

    def test_a_link_is_deleted_when_its_initiators_have_logged_out(self):
        self.start()
        initiator = self.login(self.link)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            deletion = pool.submit(self.target.api.delete, f"/links/{self.link['id']}?graceful=60")
            self.assertEqual(self.receive_logout_request(initiator), 60)
            self.assertEqual(initiator.read(0, 8), self.image[:4096])
            with self.assertRaises(iscsi.LoginFailed):
                self.login(self.link)
            initiator.logout()
            self.check(deletion.result(50), 204)
        self.ended("logout")
        self.bystander_is_well()

    def test_a_deletion_waits_no_longer_than_it_was_told(self):
        self.start()
        initiator = self.login(self.link)
        self.check(self.target.api.delete(f"/links/{self.link['id']}?graceful=1"), 204)
        self.assertEqual(self.receive_logout_request(initiator), 1)
        self.assertTrue(initiator.is_closed())
        self.ended("removed")
        for bad in ("x", "-1", "61", "1.5", ""):
            self.check(self.target.api.delete(f"/links/{self.other['id']}?graceful={bad}"), 400)
        self.bystander_is_well()


class Descriptors(processes.TestCase):
    """A link's disk holds a few of them, and there may be more links than the process has for."""

    LIMIT, LINKS = 240, 80

    def test_links_that_find_none_left_wait_and_the_others_are_served(self):
        served = target.Target(self, wrapper=("prlimit", f"--nofile={self.LIMIT}:{self.LIMIT}")).start()
        image = os.urandom(MIB)
        version = served.import_image(image)
        for number in range(self.LINKS):
            link_id = f"00000000-0000-4000-8000-{number:012}"
            served.api.put(f"/links/{link_id}", served.link_body(f"pc-{number:03}", version, policy="keep"))
        for _ in range(2):
            links = self.check(served.api.get("/links"), 200)
            ready = [link for link in links if link["ready"]]
            self.assertGreater(len(ready), 10)
            waiting = [link for link in links if not link["ready"]]
            self.assertTrue(waiting)
            for link in waiting:
                self.assertRegex(link["problem"], f"may have {self.LIMIT} open files.*LimitNOFILE")
            for link in ready[:3]:
                initiator = iscsi.Initiator(served.portal, isid=iscsi.random_isid())
                self.addCleanup(initiator.close)
                initiator.login(link["iqn"], "user", target.SECRET)
                self.assertEqual(initiator.read(0, 8), image[:4096])
                initiator.close()
            served.import_image(os.urandom(MIB))  # its files are to be had
            served.restart_after_kill()


if __name__ == "__main__":
    unittest.main()
