"""goldlink-pxe on interfaces that come and go, and beside a DHCP server on the same machine."""

import pathlib
import socket
import subprocess
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

import pxe_wire as wire  # noqa: E402
from harness.processes import wait_until  # noqa: E402
from pxe_lan import Lan, inside, run, run_dnsmasq  # noqa: E402
from pxe_test import MAC, SERVER, PxeTest  # noqa: E402


class InterfaceTest(PxeTest):
    def setUp(self):
        super().setUp()
        self.xid = 0

    def offer(self, client, *options):
        """The offer; asked for again each second, as a switch forgets packets while a port comes up."""
        self.xid += 1
        return client.insist(
            wire.dhcp_packet(MAC, wire.DISCOVER, *(options or wire.pxe_options(7)), xid=self.xid))

    def status(self):
        return self.check(self.control.get("/status"), 200)

    def problem(self, words):
        return wait_until(lambda: [p["message"] for p in self.status()["problems"] if words in p["message"]],
                          f"the problem: {words}")

    def no_problem(self):
        wait_until(lambda: not self.status()["problems"], "nothing is amiss")

    def plug_second_interface(self):
        other = Lan()
        self.addCleanup(other.close)
        other.plug(self.server_host, "eth1", "10.99.0.1/24")

    def remake_interface(self):
        run("ip", "-n", self.server_host, "link", "delete", "eth0")
        self.problem("there is no interface eth0")
        self.assertEqual(self.status()["interfaces"], [])
        self.lan.plug(self.server_host, "eth0", f"{SERVER}/24")
        wait_until(lambda: self.status()["interfaces"] == ["eth0"], "eth0 is served again")


class ProxyInterfaces(InterfaceTest):
    def test_an_interface_that_is_made_again_is_served_again(self):
        self.start_pxe()
        self.put_table()
        self.give_client_address()
        client = self.dhcp_client()
        self.assertEqual(self.offer(client).siaddr, SERVER)
        for _ in range(2):
            self.remake_interface()
            self.assertEqual(self.offer(client).siaddr, SERVER)
        self.no_problem()
        # The other two ports as well.
        on_4011 = client.exchange(
            wire.dhcp_packet(MAC, wire.REQUEST, *wire.pxe_options(7), xid=4711, ciaddr="10.77.0.50"),
            address=SERVER, port=4011)
        self.assertEqual([r.file for r in on_4011], ["snponly.efi"])
        solicitor = wire.Solicitor(self.client_host)
        self.addCleanup(solicitor.close)
        self.offer(client, *wire.ipxe_options())
        self.assertIsNotNone(solicitor.advertisement(MAC, timeout_seconds=20))

    def test_without_an_address_another_interfaces_is_not_offered(self):
        self.plug_second_interface()
        daemon = self.start_pxe()
        self.put_table()
        client = self.dhcp_client()
        run("ip", "-n", self.server_host, "address", "flush", "dev", "eth0")
        self.problem("eth0 is down or has no IPv4 address")
        self.assertEqual(client.exchange(
            wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(7), xid=99), timeout_seconds=0.5), [])
        self.assertIn("left unanswered: the interface has no IPv4 address", daemon.log())
        self.lan.give_address(self.server_host, "10.77.0.9/24")
        self.no_problem()
        reply = self.offer(client, *wire.ipxe_options(7))
        self.assertEqual((reply.siaddr, reply.source[0]), ("10.77.0.9", "10.77.0.9"))
        self.assertTrue(reply.file.startswith("http://10.77.0.9:8081/boot?"), reply.file)
        run("ip", "-n", self.server_host, "link", "set", "eth0", "down")
        self.problem("eth0 is down or has no IPv4 address")
        run("ip", "-n", self.server_host, "link", "set", "eth0", "up")
        self.no_problem()
        self.assertEqual(self.offer(client).siaddr, "10.77.0.9")

    def start_on_all(self):
        self.daemon("goldlink-pxe",
                    ["--state-dir", self.folder / "pxe", "--control", f"unix:{self.folder}/pxe.sock",
                     "--boot-files", self.boot_files, "--http", "0.0.0.0:8081"],
                    wrapper=("ip", "netns", "exec", self.server_host)).start()
        self.put_table()

    def test_one_interface_that_cannot_be_served_does_not_keep_the_others(self):
        self.plug_second_interface()
        with inside(self.server_host):
            holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1\0")
            holder.bind(("", 4011))
            self.start_on_all()
            self.assertEqual(self.status()["interfaces"], ["eth0"])
            self.assertEqual(self.offer(self.dhcp_client()).siaddr, SERVER)
            self.problem("interface eth1 is not served: cannot listen on UDP 0.0.0.0:4011 of eth1")
        wait_until(lambda: sorted(self.status()["interfaces"]) == ["eth0", "eth1"], "eth1 is tried again")
        self.no_problem()

    def test_without_interface_every_one_is_served_whenever_it_comes(self):
        self.plug_second_interface()
        run("ip", "-n", self.server_host, "address", "flush", "dev", "eth0")
        self.start_on_all()
        self.assertEqual(self.status()["interfaces"], ["eth1"])
        self.lan.give_address(self.server_host, f"{SERVER}/24")
        wait_until(lambda: sorted(self.status()["interfaces"]) == ["eth0", "eth1"], "eth0 is served")
        self.assertEqual(self.offer(self.dhcp_client()).siaddr, SERVER)


class BesideDhcpServer(InterfaceTest):
    """dnsmasq on the same machine, which holds port 67."""

    def start_dhcp_here(self):
        run_dnsmasq(self, self.server_host, "here", "--no-ping", "--interface=eth0", "--bind-interfaces",
                    "--dhcp-range=10.77.0.100,10.77.0.150,1h")

    def check_both_answer(self):
        client = self.dhcp_client()
        for number, (options, file) in enumerate(((wire.pxe_options(0), "undionly.kpxe"),
                                                  (wire.ipxe_options(7), f"http://{SERVER}:8081/boot"))):
            replies = client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *options, xid=60 + number), count=2)
            self.assertEqual([r.source for r in replies], [(SERVER, 67)] * 2)
            ours = next(r for r in replies if r.yiaddr == "0.0.0.0")
            site = next(r for r in replies if r.yiaddr != "0.0.0.0")
            self.assertTrue(ours.file.startswith(file), ours.file)
            self.assertEqual(site.file, "")
        # A renewal, which is unicast, still reaches the other.
        address = site.yiaddr
        ack, = client.exchange(wire.dhcp_packet(
            MAC, wire.REQUEST, wire.option(50, socket.inet_aton(address)),
            wire.option(54, socket.inet_aton(SERVER)), xid=70))
        self.assertEqual(ack.kind, wire.ACK)
        self.lan.give_address(self.client_host, f"{address}/24")
        renewed, = client.exchange(wire.dhcp_packet(MAC, wire.REQUEST, xid=71, ciaddr=address),
                                   address=SERVER)
        self.assertEqual((renewed.kind, renewed.yiaddr), (wire.ACK, address))
        told = client.exchange(wire.dhcp_packet(MAC, wire.INFORM, *wire.pxe_options(7), xid=72,
                                                ciaddr=address), address=SERVER, count=2)
        self.assertIn("snponly.efi", [r.file for r in told])

    def test_started_after_it(self):
        self.start_dhcp_here()
        self.start_pxe()
        self.put_table()
        self.check_both_answer()

    def test_started_before_it(self):
        self.start_pxe()
        self.put_table()
        self.start_dhcp_here()
        self.check_both_answer()

    def test_what_passes_through_this_machine_is_not_answered(self):
        self.start_pxe()
        self.put_table()
        self.give_client_address()
        run("ip", "netns", "exec", self.server_host, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "-n", self.client_host, "route", "add", "10.88.0.0/24", "via", SERVER)
        client = self.dhcp_client()
        client.send(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=80),
                    address="10.88.0.1")
        client.send(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=81),
                    address="10.77.0.255")
        self.assertEqual(client.exchange(
            wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=82))[0].xid, 82)
        self.assertEqual(client.replies(80, 1, timeout_seconds=0.1), [])

    def test_two_dhcp_servers_on_a_machine_are_refused_with_the_way_out(self):
        self.start_dhcp_here()
        daemon = self.daemon(
            "goldlink-pxe",
            ["--state-dir", self.folder / "pxe", "--control", f"unix:{self.folder}/pxe.sock",
             "--interface", "eth0", "--mode", "dhcp", "--dhcp-range", "10.77.0.160-10.77.0.170"],
            wrapper=("ip", "netns", "exec", self.server_host))
        daemon.start(wait_ready=False)
        self.assertNotEqual(daemon.wait(), 0)
        self.assertIn("another DHCP server runs on this host", daemon.log())
        self.assertIn("--mode proxy", daemon.log())


class DhcpInterfaces(InterfaceTest):
    mode = ["--mode", "dhcp", "--dhcp-range", "10.77.0.100-10.77.0.110"]

    def test_leases_go_on_when_the_interface_is_made_again_or_gets_another_address(self):
        self.start_pxe()
        self.put_table()
        client = self.dhcp_client()
        self.assertEqual(self.offer(client).yiaddr, "10.77.0.100")
        self.remake_interface()
        self.assertEqual(self.offer(client).yiaddr, "10.77.0.100")
        self.lan.give_address(self.server_host, "10.77.0.9/24")
        run("ip", "-n", self.server_host, "address", "delete", f"{SERVER}/24", "dev", "eth0")
        # Deleting a primary address takes those of its subnet along.
        subprocess.run(["ip", "-n", self.server_host, "address", "add", "10.77.0.9/24", "dev", "eth0"],
                       capture_output=True, check=False)

        def moved():
            reply = self.offer(client)
            return reply if reply.siaddr == "10.77.0.9" else None

        reply = wait_until(moved, "it answers from its new address")
        ack, = client.exchange(wire.dhcp_packet(
            MAC, wire.REQUEST, wire.option(50, socket.inet_aton(reply.yiaddr)),
            wire.option(54, reply.options[54]), xid=900))
        self.assertEqual((ack.kind, ack.source[0]), (wire.ACK, "10.77.0.9"))


if __name__ == "__main__":
    unittest.main()
