"""The room's network: a switch, the server's port, the site's own DHCP server, a port for each PC.

    server 10.77.0.1 ---+
    site   10.77.0.2 ---+--- bridge ---+--- tap of PC 1
                                       +--- tap of PC 2 ...

The switch and the site are network namespaces of their own. So is the server, unless the room is
made with server_interface: then the server's port is an interface of that name on the host, and
what runs there is reachable from the host as well.
"""
import contextlib
import os
import shutil
import subprocess
import tempfile
import time

from .child import Child, RoomError, enter_namespace, wait_until
from .machine import Machine

SERVER_ADDRESS = "10.77.0.1"
SITE_ADDRESS = "10.77.0.2"
PREFIX_BITS = 24
FIRST_LEASE, LAST_LEASE = "10.77.0.100", "10.77.0.199"


class Room:
    """Owns every process and interface of the room; close() or the end of `with` ends them all."""

    def __init__(self, log_dir=None, server_interface=None, further_dhcp=()):
        if os.geteuid() != 0:
            raise RoomError("the room needs root: it makes network namespaces and interfaces")
        missing = [tool for tool in ("ip", "nsenter", "unshare", "dnsmasq", "qemu-system-x86_64")
                   if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]
        if missing:
            raise RoomError(f"missing: {', '.join(missing)}; apt-get install iproute2 util-linux "
                            "dnsmasq-base qemu-system-x86 ovmf ipxe")
        self._owned_log_dir = None if log_dir else tempfile.mkdtemp(prefix="goldlink-room-")
        self.log_dir = log_dir or self._owned_log_dir
        os.makedirs(self.log_dir, exist_ok=True)
        self.server_interface = server_interface or "eth0"
        self._on_host = server_interface is not None
        self._further_dhcp = further_dhcp  # options of the site's DHCP server
        self._namespaces = {}
        self._children = []
        self.machines = []
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _make(self):
        for name in ("switch", "site") if self._on_host else ("switch", "site", "server"):
            self._make_namespace(name)
        self._ip("switch", "link", "add", "br0", "type", "bridge", "forward_delay", "0",
                 "mcast_snooping", "0")
        self._ip("switch", "link", "set", "br0", "up")
        self._plug("server", self.server_interface, SERVER_ADDRESS)
        self._plug("site", "eth0", SITE_ADDRESS)
        self._start_site_dhcp()

    def _make_namespace(self, name):
        own = os.readlink("/proc/self/ns/net")
        holder = Child(f"namespace {name}", ["unshare", "--net", "--", "sleep", "infinity"],
                       os.path.join(self.log_dir, f"namespace-{name}.log"))
        self._children.append(holder)

        def entered():
            return os.readlink(f"/proc/{holder.pid}/ns/net") != own
        holder.wait_for(entered, "network namespace", 10)
        self._namespaces[name] = holder.pid
        self._ip(name, "link", "set", "lo", "up")

    def inside(self, namespace, command):
        """The command line that runs `command` in a namespace of the room."""
        if namespace not in self._namespaces:
            return list(command)  # the server's side of a room made with server_interface
        return ["nsenter", f"--net=/proc/{self._namespaces[namespace]}/ns/net", "--", *command]

    @contextlib.contextmanager
    def entered(self, namespace):
        """The calling thread is in a namespace of the room: sockets made now belong there."""
        if namespace not in self._namespaces:
            yield
            return
        with open("/proc/thread-self/ns/net", "rb") as home, \
                open(f"/proc/{self._namespaces[namespace]}/ns/net", "rb") as there:
            enter_namespace(there)
            try:
                yield
            finally:
                enter_namespace(home)

    def _ip(self, namespace, *arguments):
        done = subprocess.run(self.inside(namespace, ["ip", *arguments]), capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise RoomError(f"`ip {' '.join(arguments)}` in {namespace}: {done.stderr.strip()}")

    def _plug(self, namespace, interface, address):
        port = f"port-{namespace}"
        holder = self._namespaces.get(namespace, os.getpid())
        if namespace not in self._namespaces:
            # The host's side: a leftover of a room that was killed would have its address.
            subprocess.run(["ip", "link", "del", interface], capture_output=True, check=False)
        self._ip("switch", "link", "add", port, "type", "veth", "peer", "name", interface, "netns",
                 str(holder))
        self._ip("switch", "link", "set", port, "master", "br0", "up")
        self._ip(namespace, "link", "set", interface, "up")
        self._ip(namespace, "address", "add", f"{address}/{PREFIX_BITS}", "dev", interface)

    def _start_site_dhcp(self):
        """A DHCP server as a site has it: addresses and nothing of booting. It also announces an
        IPv6 prefix, without which iPXE waits some 13 s for one at each of its starts."""
        self._ip("site", "address", "add", "fd77::2/64", "dev", "eth0", "nodad")
        self.site_dhcp = self.start("site", "site-dhcp", [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--port=0",
            "--interface=eth0", "--bind-interfaces", "--no-ping", "--dhcp-authoritative", "--log-dhcp",
            f"--dhcp-range={FIRST_LEASE},{LAST_LEASE},255.255.255.0,12h",
            "--dhcp-range=fd77::,ra-only", "--enable-ra", "--ra-param=eth0,5",
            *self._further_dhcp,
            f"--dhcp-leasefile={os.path.join(self.log_dir, 'site-dhcp.leases')}", "--user=root"])

        def serving():
            with open(self.site_dhcp.log_path, encoding="utf-8", errors="replace") as log:
                return "DHCP, IP range" in log.read()
        self.site_dhcp.wait_for(serving, "DHCP range", 10)

    def start(self, namespace, name, command, **options):
        """Starts a process in a namespace of the room; its output goes to log_dir/name.log."""
        child = Child(name, self.inside(namespace, command),
                      os.path.join(self.log_dir, f"{name}.log"), **options)
        self._children.append(child)
        return child

    def machine(self, name, firmware, mac, memory_mib=384):
        """A PC of the room, not yet started. Its name also names its files in log_dir."""
        tap = f"tap{len(self.machines)}"
        self._ip("switch", "tuntap", "add", tap, "mode", "tap")
        self._ip("switch", "link", "set", tap, "master", "br0", "up")
        machine = Machine(self, name, firmware, mac, tap, memory_mib)
        self.machines.append(machine)
        return machine

    def close(self):
        for machine in self.machines:
            machine.stop()
        for child in reversed(self._children):
            child.stop()
        if self._on_host:
            subprocess.run(["ip", "link", "del", self.server_interface], capture_output=True, check=False)
        wait_until(lambda: all(c.process.poll() is not None for c in self._children),
                   time.monotonic() + 10)
        if self._owned_log_dir:
            shutil.rmtree(self._owned_log_dir, ignore_errors=True)
            self._owned_log_dir = None
