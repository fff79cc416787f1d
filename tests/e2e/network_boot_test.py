"""PCs boot on networks as they are: behind a relay, after the server's interface was made again, and
beside a DHCP server on the same machine.

The disc that they start is a few hundred bytes, so that a boot takes some 15 s; the tests share one
server and run in the order of their names.
"""

import os
import pathlib
import shutil
import tempfile
import unittest

from installer_disc import write_disc
from room_server import SERVER_ADDRESS, Room, RoomServer, wait_until

ROUTER_ADDRESS = "10.77.0.3"
FAR_ROUTER_ADDRESS = "10.90.0.1"
FAR_NETWORK = "10.90.0.0/24"
FAR_LEASES = ["--dhcp-range=set:far,10.90.0.100,10.90.0.199,255.255.255.0,12h",
              f"--dhcp-option=tag:far,3,{FAR_ROUTER_ADDRESS}"]
MACS = {"far-bios": "52:54:00:e2:e2:01", "far-uefi": "52:54:00:e2:e2:02", "near": "52:54:00:e2:e2:03"}
BOOT_SECONDS = 180  # emulated, on a machine that may be busy


class FarRoom(Room):
    """A second switch, whose router joins it to the first and relays its DHCP packets."""

    def make_far_switch(self, relay_to):
        self._ip("switch", "link", "add", "br1", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        self._ip("switch", "link", "set", "br1", "up")
        self._make_namespace("router")
        self._plug("router", "eth0", ROUTER_ADDRESS)
        self._ip("switch", "link", "add", "port-far", "type", "veth", "peer", "name", "eth1", "netns",
                 str(self._namespaces["router"]))
        self._ip("switch", "link", "set", "port-far", "master", "br1", "up")
        self._ip("router", "link", "set", "eth1", "up")
        self._ip("router", "address", "add", f"{FAR_ROUTER_ADDRESS}/24", "dev", "eth1")
        self._ip("router", "address", "add", "fd90::1/64", "dev", "eth1", "nodad")
        self.start("router", "forward", ["sysctl", "-w", "net.ipv4.ip_forward=1"])
        for namespace in ("server", "site"):
            self.route_far(namespace)
        # The prefix spares iPXE its wait for an IPv6 router.
        self.start("router", "relay", [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--port=0", "--user=root",
            *(f"--dhcp-relay={FAR_ROUTER_ADDRESS},{address}" for address in relay_to),
            "--dhcp-range=fd90::,ra-only", "--enable-ra", "--ra-param=eth1,5"])

    def route_far(self, namespace):
        self._ip(namespace, "route", "add", FAR_NETWORK, "via", ROUTER_ADDRESS)

    def far_machine(self, *arguments):
        machine = self.machine(*arguments)
        self._ip("switch", "link", "set", f"tap{len(self.machines) - 1}", "master", "br1")
        return machine

    def remake_server_interface(self):
        self._ip("switch", "link", "del", "port-server")
        self._plug("server", self.server_interface, SERVER_ADDRESS)
        self.route_far("server")

    def move_dhcp_to_server(self):
        self.site_dhcp.stop()
        log = os.path.join(self.log_dir, "server-dhcp")
        dhcp = self.start("server", "server-dhcp", [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--port=0", "--user=root",
            f"--interface={self.server_interface}", "--bind-interfaces", "--no-ping", "--dhcp-authoritative",
            "--dhcp-range=10.77.0.200,10.77.0.220,255.255.255.0,12h", f"--dhcp-leasefile={log}.leases"])
        dhcp.wait_for(lambda: "DHCP, IP range" in pathlib.Path(dhcp.log_path).read_text(errors="replace"),
                      "DHCP range", 10)


class Networks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="gl-e2e-"))
        cls.folder.chmod(0o755)  # PostgreSQL does not run as root and has to reach its folder
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.room = FarRoom(log_dir=str(cls.folder / "log"), further_dhcp=FAR_LEASES)
        cls.addClassCleanup(cls.room.close)
        cls.room.make_far_switch(relay_to=["10.77.0.2", SERVER_ADDRESS])
        cls.server = RoomServer(cls.room, cls.folder / "state")
        write_disc(cls.folder / "setup.iso", cls.folder)
        cli = cls.server.cli
        cli("image", "import", "setup", cls.folder / "setup.iso", "--format", "iso")
        cli("image", "create", "blank", "--size", "64M")
        for name, mac in MACS.items():
            cli("client", "add", name, "--mac", mac)
            cli("link", "create", "--client", name, "--image", "blank", "--disk", "1=setup", "--install")

    def starts_the_disc(self, machine, times=1):
        def said():
            path = pathlib.Path(machine.serial_path)
            return path.read_text(errors="replace") if path.exists() else ""
        wait_until(lambda: said().count("DISC started") >= times,
                   f"{machine.name} starts the disc; its console ends with:\n{said()[-2000:]}", BOOT_SECONDS)
        machine.stop()

    def logs_in(self, machine):
        def reached():
            return [stage for stage, _ in self.server.stages(machine.name)]
        wait_until(lambda: "login" in reached(), f"iPXE of {machine.name} logs in", BOOT_SECONDS)
        self.assertEqual(reached()[:5], ["dhcp", "nbp", "ipxe", "script", "login"])
        machine.stop()

    def test_1_behind_a_relay(self):
        bios = self.room.far_machine("far-bios", "bios", MACS["far-bios"])
        uefi = self.room.far_machine("far-uefi", "uefi", MACS["far-uefi"])
        bios.start()
        uefi.start()
        self.starts_the_disc(bios)
        self.logs_in(uefi)

    def test_2_after_the_interface_was_made_again(self):
        self.room.remake_server_interface()
        machine = self.room.machine("near", "bios", MACS["near"])
        machine.start()
        self.starts_the_disc(machine)

    def test_3_beside_a_dhcp_server_on_the_same_machine(self):
        self.room.move_dhcp_to_server()
        machine = self.room.machines[-1]
        machine.start()
        self.starts_the_disc(machine, times=2)
        self.server.stop()


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("the room needs root: it makes network namespaces and interfaces")
    unittest.main()
