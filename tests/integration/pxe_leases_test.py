"""goldlink-pxe as the room's DHCP server: what it leases, to whom, and what it says when it cannot."""

import pathlib
import socket
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

import pxe_wire as wire  # noqa: E402
from pxe_lan import run  # noqa: E402
from pxe_test import MAC, SERVER, PxeTest  # noqa: E402


def stranger(number):
    return f"02:00:00:00:{number // 256:02x}:{number % 256:02x}"


class DhcpTest(PxeTest):
    def setUp(self):
        super().setUp()
        self.pxe = self.start_pxe()
        self.put_table()
        self.client = self.dhcp_client()
        self.xid = 0

    def discover(self, mac, *options, timeout_seconds=10):
        """The address that it is offered, or None."""
        self.xid += 1
        replies = self.client.exchange(wire.dhcp_packet(mac, wire.DISCOVER, *options, xid=self.xid),
                                       timeout_seconds=timeout_seconds)
        return replies[0].yiaddr if replies else None

    def request(self, mac, address, *options):
        self.xid += 1
        reply, = self.client.exchange(wire.dhcp_packet(
            mac, wire.REQUEST, wire.option(50, socket.inet_aton(address)),
            wire.option(54, socket.inet_aton(SERVER)), *options, xid=self.xid))
        return reply

    def lease(self, mac, *options):
        address = self.discover(mac, *options)
        self.assertEqual(self.request(mac, address, *options).kind, wire.ACK)
        return address

    def problems(self):
        return [problem["message"] for problem in self.check(self.control.get("/status"), 200)["problems"]]


class SmallPool(DhcpTest):
    mode = ["--mode", "dhcp", "--dhcp-range", "10.77.0.100-10.77.0.103"]

    def test_a_pool_that_is_used_up_boots_nobody_and_says_so(self):
        for number in range(3):
            self.lease(stranger(number))
        self.assertEqual(self.problems(), [])
        self.assertIsNone(self.discover(stranger(9), *wire.pxe_options(0), timeout_seconds=1))
        told, = self.problems()
        self.assertIn(f"{stranger(9)} asked for an address and got none", told)
        refused, = [e for e in self.events() if e["kind"] == "boot_refused"]
        self.assertIn("no address of 10.77.0.100-10.77.0.103 is free", refused["data"]["why"])
        self.assertIn("widen --dhcp-range", refused["data"]["why"])
        self.assertNotIn("is offered", self.pxe.log())
        self.assertIsNone(self.discover(stranger(10), timeout_seconds=1))  # no wish to boot
        self.assertIn(f"{stranger(10)} gets no address: no address of", self.pxe.log())
        # The last one was kept for a machine of the table.
        self.assertEqual(self.lease(MAC, *wire.pxe_options(0)), "10.77.0.103")

    def test_an_address_that_somebody_uses_is_not_offered(self):
        printer = self.lan.host("prn", "10.77.0.100/24")
        self.assertEqual(self.lease(MAC, *wire.pxe_options(0)), "10.77.0.101")
        told, = self.problems()
        self.assertIn("are left out: 10.77.0.100 (by ", told)
        self.assertIn("10.77.0.100 is in use by", self.pxe.log())
        # One that comes up after its address was offered.
        self.assertEqual(self.discover(stranger(1)), "10.77.0.102")
        self.lan.give_address(printer, "10.77.0.102/24")
        self.assertEqual(self.discover(stranger(1)), "10.77.0.103")
        self.assertEqual(self.request(stranger(2), "10.77.0.102").kind, wire.NAK)

    def test_a_machine_that_still_has_its_address_gets_it_again(self):
        run("ip", "-n", self.client_host, "link", "set", "eth0", "address", MAC)
        self.lan.give_address(self.client_host, "10.77.0.100/24")
        self.assertEqual(self.lease(MAC), "10.77.0.100")
        self.assertEqual(self.problems(), [])


    def test_no_lease_is_given_that_cannot_be_kept(self):
        file = self.folder / "pxe" / "leases.json"
        (file / "in the way").mkdir(parents=True)
        address = self.discover(MAC)
        ask = [wire.option(50, socket.inet_aton(address)), wire.option(54, socket.inet_aton(SERVER))]
        for xid in (501, 502):
            self.assertEqual(self.client.exchange(wire.dhcp_packet(MAC, wire.REQUEST, *ask, xid=xid),
                                                  timeout_seconds=0.5), [])
        told, = self.problems()
        self.assertIn("no lease can be kept", told)
        (file / "in the way").rmdir()
        file.rmdir()
        self.assertEqual(self.request(MAC, address).kind, wire.ACK)
        self.assertIn(address, file.read_text())


class Crowd(DhcpTest):
    mode = ["--mode", "dhcp", "--dhcp-range", "10.77.0.100-10.77.0.119"]

    def test_one_host_in_many_names_leaves_addresses_for_the_machines_of_the_table(self):
        pcs = [f"52:54:00:00:01:{number:02x}" for number in range(8)]
        self.revision += 1
        self.check(self.control.put("/table", {
            "revision": self.revision,
            "settings": {"unknown_policy": "register", "menu_timeout_seconds": 7, "http_base": None,
                         "naming_pattern": "PC-{n:03}"},
            "clients": [{"id": f"c{number}", "name": f"PC-{number}", "macs": [mac], "link_id": None,
                         "boot": "local", "initiator": f"iqn.2026-11.io.goldlink.client:{number}"}
                        for number, mac in enumerate(pcs)]}), 200)
        taken = set()
        for number in range(16):
            address = self.discover(stranger(number), timeout_seconds=1)
            if address and self.request(stranger(number), address).kind == wire.ACK:
                taken.add(address)
        self.assertEqual(len(taken), 12)
        self.assertIn("that are not in the boot table", self.problems()[0])
        for number in range(100):  # and a flood of them
            self.client.send(wire.dhcp_packet(stranger(100 + number), wire.DISCOVER, xid=5000 + number))
        given = {self.lease(mac, *wire.pxe_options(0)) for mac in pcs}
        self.assertEqual(len(given), 8)
        self.assertFalse(given & taken)


if __name__ == "__main__":
    unittest.main()
