"""PCs behind a relay: another switch, whose router sends their DHCP packets on to goldlink-pxe."""

import pathlib
import socket
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

import pxe_wire as wire  # noqa: E402
from pxe_lan import Lan, run, run_dnsmasq  # noqa: E402
from pxe_test import MAC, SERVER, PxeTest  # noqa: E402

ROUTER = "10.77.0.3"       # on the server's switch
FAR_ROUTER = "10.90.0.1"   # on the room's


class Room(PxeTest):
    """`far_client`: a host on the room's switch, which only the router joins to the server's."""

    def setUp(self):
        super().setUp()
        self.room = Lan()
        self.addCleanup(self.room.close)
        self.router = self.lan.host("rt", f"{ROUTER}/24")
        self.room.plug(self.router, "eth1", f"{FAR_ROUTER}/24")
        run("ip", "netns", "exec", self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "-n", self.server_host, "route", "add", "10.90.0.0/24", "via", ROUTER)
        self.far_host = self.room.host("far")

    def far_client(self):
        client = wire.DhcpClient(self.far_host)
        self.addCleanup(client.close)
        return client

    def relay(self):
        """A socket in the router, where a relay's would be, to see what it is sent."""
        client = wire.DhcpClient(self.router, port=67)
        self.addCleanup(client.close)
        return client

    def relayed(self, relay, kind, *options, xid, giaddr, flags=0):
        packet = wire.dhcp_packet(MAC, kind, *options, xid=xid, giaddr=giaddr, flags=flags)
        return relay.exchange(packet, address=SERVER, timeout_seconds=10)


class ProxyBehindRelay(Room):
    def start_relay(self):
        """dnsmasq as a relay: with the flag clear it sends to the address in the reply."""
        run_dnsmasq(self, self.router, "relay", f"--dhcp-relay={FAR_ROUTER},{SERVER}")

    def test_an_offer_arrives_through_a_relay_whatever_the_flag_asked_for(self):
        self.start_pxe()
        self.put_table()
        self.start_relay()
        client = self.far_client()
        rows = [(wire.pxe_options(0), "undionly.kpxe"), (wire.pxe_options(7), "snponly.efi"),
                (wire.ipxe_options(7), f"http://{SERVER}:8081/boot?mac={MAC}&arch=uefi-x64")]
        xid = 0
        for options, file in rows:
            for flags in (0x8000, 0):  # iPXE leaves it clear
                with self.subTest(file=file, flags=flags):
                    xid += 1
                    reply = client.insist(
                        wire.dhcp_packet(MAC, wire.DISCOVER, *options, xid=xid, flags=flags), tries=5)
                    self.assertEqual(reply.kind, wire.OFFER)
                    self.assertTrue(reply.file.startswith(file), reply.file)
                    self.assertEqual(reply.siaddr, SERVER)


class DhcpBehindRelay(Room):
    mode = ["--mode", "dhcp", "--dhcp-range", "10.77.0.100-10.77.0.110"]

    def test_only_a_relay_of_the_pools_subnet_is_given_addresses(self):
        self.start_pxe("--log-level", "debug")
        self.put_table()
        relay = self.relay()
        ask = wire.pxe_options(7)
        self.assertEqual(relay.exchange(
            wire.dhcp_packet(MAC, wire.DISCOVER, *ask, xid=1, giaddr=FAR_ROUTER), address=SERVER,
            timeout_seconds=0.5), [])
        for number, kind in enumerate((wire.REQUEST, wire.INFORM)):
            self.assertEqual(relay.exchange(
                wire.dhcp_packet(MAC, kind, *ask, wire.option(50, socket.inet_aton("10.77.0.105")),
                                 xid=2 + number, giaddr=FAR_ROUTER),
                address=SERVER, timeout_seconds=0.2), [])
        offer, = self.relayed(relay, wire.DISCOVER, *ask, xid=10, giaddr=ROUTER)
        self.assertEqual((offer.kind, offer.yiaddr, offer.giaddr), (wire.OFFER, "10.77.0.100", ROUTER))
        self.assertEqual((offer.flags, offer.file), (0, "snponly.efi"))  # it can be unicast

    def test_a_refusal_through_a_relay_is_to_be_broadcast(self):
        self.start_pxe()
        self.put_table()
        relay = self.relay()
        refusal, = self.relayed(relay, wire.REQUEST, wire.option(50, socket.inet_aton("10.55.0.9")),
                                xid=20, giaddr=ROUTER)
        self.assertEqual((refusal.kind, refusal.flags, refusal.giaddr), (wire.NAK, 0x8000, ROUTER))


if __name__ == "__main__":
    unittest.main()
