"""A small network of namespaces for one test: a switch and the hosts on it.

Each host is a network namespace with one interface `eth0`; all hang on a bridge of a namespace of
their own. Needs root. Everything is removed by close().
"""

import contextlib
import ctypes
import os
import pathlib
import secrets
import subprocess

from harness.processes import wait_until

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")


class Lan:
    def __init__(self):
        self.prefix = "gl" + secrets.token_hex(3)
        self.names = []
        self.ports = 0
        self.switch = self._namespace("sw")
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0",
            "mcast_snooping", "0")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")

    def _namespace(self, name):
        full = f"{self.prefix}{name}"
        run("ip", "netns", "add", full)
        self.names.append(full)
        run("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def host(self, name, address=None):
        """A host on the switch; `address` with its prefix length, or none yet."""
        full = self._namespace(name)
        self.plug(full, "eth0", address)
        return full

    def plug(self, host, interface, address=None):
        """A further interface of a host, which may be of another Lan, on this switch."""
        self.ports += 1
        port = f"p{self.ports}"
        run("ip", "-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", interface,
            "netns", host)
        run("ip", "-n", self.switch, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", host, "link", "set", interface, "up")
        if address:
            self.give_address(host, address, interface)

    def give_address(self, host, address, interface="eth0"):
        run("ip", "-n", host, "address", "add", address, "dev", interface)

    def close(self):
        for name in reversed(self.names):
            subprocess.run(["ip", "netns", "delete", name], check=False)
        self.names.clear()


@contextlib.contextmanager
def inside(namespace):
    """Sockets this thread makes in the block belong to the namespace, and keep belonging to it."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(before)
        os.close(there)
        os.close(before)


def _enter(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def run_dnsmasq(test, host, name, *arguments):
    """dnsmasq in a host of a Lan, until the test ends; returns once it listens on port 67. Its files are `name`.*
    in the test's folder."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", host, "dnsmasq", "--keep-in-foreground", "--port=0", "--conf-file=/dev/null",
         f"--dhcp-leasefile={test.folder}/{name}.leases", f"--pid-file={test.folder}/{name}.pid", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop():
        process.terminate()
        process.wait()

    test.addCleanup(stop)

    def listens():
        with inside(host):  # columns: slot, local address:port in hex, ...
            rows = pathlib.Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]
        return any(row.split()[1].endswith(":0043") for row in rows)

    wait_until(listens, f"dnsmasq ({name}) listens on port 67")
