"""A link as a second disk of a booted PC: Linux' own initiator logs in over several portals, and device mapper
makes one disk of the paths."""

import contextlib
import re
import subprocess

from room_server import PREFIX_BITS

TABLE = "paths"  # the name of the multipath disk
GIVE_UP_SECONDS = 3  # a path that does not answer


class GuestPaths:
    """Sessions of one guest with one link, one to each address. Everything is done by commands in the guest."""

    def __init__(self, machine, link, addresses, port):
        self.machine = machine
        self.link = link
        self.portals = [f"{address}:{port}" for address in addresses]

    # --- iscsiadm ---

    def discover(self, portal, proves):
        """What SendTargets shows at a portal, with or without a proof by CHAP."""
        record = f"iscsiadm -m discoverydb -t st -p {portal}"
        steps = [f"{record} -o new"]
        if proves:
            steps += [f"{record} -o update -n discovery.sendtargets.auth.{name} -v '{value}'" for name, value in
                      (("authmethod", "CHAP"), ("username", self.link["username"]),
                       ("password", self.link["secret"]))]
        # Nothing shown is an error to iscsiadm: 21, no objects found.
        steps += [f"{record} -D -P 0 -o nonpersistent", "found=$?", f"{record} -o delete", "[ $found = 21 ] || exit $found"]
        return re.findall(r"(\S+:\d+),\d+ (iqn\S+)", self.machine.run("\n".join(steps)))

    def login(self, digests="CRC32C"):
        for portal in self.portals:
            record = f"iscsiadm -m node -T {self.link['iqn']} -p {portal}"
            settings = {
                "node.startup": "manual",
                "node.session.auth.authmethod": "CHAP",
                "node.session.auth.username": self.link["username"],
                "node.session.auth.password": self.link["secret"],
                "node.conn[0].iscsi.HeaderDigest": digests,
                "node.conn[0].iscsi.DataDigest": digests,
                "node.conn[0].timeo.noop_out_interval": 1,
                "node.conn[0].timeo.noop_out_timeout": 2,
                "node.session.timeo.replacement_timeout": GIVE_UP_SECONDS,
            }
            self.machine.run("\n".join(["set -e", f"{record} -o new"] + [
                f"{record} -o update -n '{name}' -v '{value}'" for name, value in settings.items()] + [
                f"{record} -l", "udevadm settle"]))

    def logout(self):
        self.machine.run(f"dmsetup remove {TABLE} 2>/dev/null; iscsiadm -m node -T {self.link['iqn']} -u && "
                         f"iscsiadm -m node -T {self.link['iqn']} -o delete")

    # --- what the kernel says ---

    def _session(self, portal):
        """Its folder in sysfs; there is one a portal."""
        address = portal.rpartition(":")[0]
        found = self.machine.run(
            f"for s in /sys/class/iscsi_session/*; do for c in $s/device/connection*/iscsi_connection/*; do "
            f"if [ $(cat $s/targetname) = {self.link['iqn']} ] && [ $(cat $c/persistent_address) = {address} ]; "
            "then echo $s; fi; done; done").split()
        assert len(found) == 1, f"sessions over {portal}: {found}"
        return found[0]

    def state(self, portal):
        return self.machine.run(f"cat {self._session(portal)}/state").strip()

    def digests(self, portal):
        text = self.machine.run(f"cat {self._session(portal)}/device/connection*/iscsi_connection/*/"
                                "{header,data}_digest").split()
        return [value == "1" for value in text]

    def disk(self, portal):
        return self.machine.run(f"ls {self._session(portal)}/device/target*/*/block").strip()

    def recoveries(self, portal):
        """How often this session lost its connection, by the kernel's log."""
        number = re.search(r"session(\d+)$", self._session(portal))[1]
        return int(self.machine.run(f"dmesg | grep -c 'connection{number}:0: detected conn error' || true"))

    # --- one disk of all paths ---

    def join(self):
        """/dev/mapper/paths: reads and writes go to all paths in turn, and wait while none works."""
        numbers = [self.machine.run(f"cat /sys/block/{self.disk(portal)}/dev").strip() for portal in self.portals]
        sectors = self.machine.run(f"cat /sys/block/{self.disk(self.portals[0])}/size").strip()
        paths = " ".join(f"{number} 1" for number in numbers)
        self.machine.run(f"modprobe dm-multipath && modprobe dm-round-robin && dmsetup create {TABLE} --table "
                         f"'0 {sectors} multipath 1 queue_if_no_path 0 1 1 round-robin 0 {len(numbers)} 1 {paths}'")
        self._numbers = dict(zip(self.portals, numbers))
        return f"/dev/mapper/{TABLE}"

    def path_works(self, portal):
        """What device mapper holds of a path: it is A or F."""
        status = self.machine.run(f"dmsetup status {TABLE}")
        return re.search(rf"{self._numbers[portal]} ([AF])", status)[1] == "A"

    def heal(self):
        """What multipathd does: failed paths whose session is there again are used again."""
        for portal in self.portals:
            if not self.path_works(portal) and self.state(portal) == "LOGGED_IN":
                self.machine.run(f"dmsetup message {TABLE} 0 reinstate_path {self._numbers[portal]}")


def change_address(room, verb, address):
    """`add` or `del` an address of the server."""
    subprocess.run(room.inside("server", ["ip", "address", verb, f"{address}/{PREFIX_BITS}", "dev",
                                          room.server_interface]), check=True)


@contextlib.contextmanager
def address_away(room, address):
    """The server does not have this address for a while: what is sent to it is lost."""
    change_address(room, "del", address)
    try:
        yield
    finally:
        change_address(room, "add", address)


def cut_connections(room, address):
    """The server's side of each TCP connection to this address ends with a reset."""
    done = subprocess.run(room.inside("server", ["ss", "-K", "-t", "src", address]), capture_output=True, text=True,
                          check=True)
    cut = done.stdout.count("ESTAB")
    assert cut > 0, f"no connection was cut: {done.stdout}{done.stderr}"
    return cut
