"""A room boots: two PCs, one by BIOS with a discard link and one by UEFI with a keep link, boot a real
Debian from one golden image, beside a site's DHCP server that knows nothing of booting.

A boot takes most of a minute when emulated, so that the tests of this file share them: they run in
the order of their names, and the first that fails ends the file.
"""

import os
import pathlib
import shutil
import tempfile
import time
import unittest

from guest_paths import GuestPaths, address_away, change_address, cut_connections
from room_server import SERVER_ADDRESS, Room, RoomServer, demo_image, wait_until

IMAGE = "debian"
DISCARD, KEEP = "pc-bios", "pc-uefi"
MACS = {DISCARD: "52:54:00:e2:e0:01", KEEP: "52:54:00:e2:e0:02"}
PATHS = ["10.77.0.11", "10.77.0.12"]  # further addresses of the server, for one disk over both
NOTE = "/root/note"
WRITER_FOLDER = "/root/written"

# Writes files that are on the disk (fsync) before their checksum is; `count` says how many are.
WRITER = """
folder=$1 bytes=$2 limit=$3
mkdir -p "$folder" && cd "$folder" || exit 1
number=0
while [ ! -e stop ]; do
    number=$((number + 1))
    head -c "$bytes" /dev/urandom > "data-$number" && sync "data-$number" || exit 1
    sha256sum "data-$number" >> sums && sync sums || exit 1
    echo $number > /run/count.new && mv /run/count.new /run/count
    [ $number -lt "$limit" ] || break
done
"""


def start_writer(machine, folder=WRITER_FOLDER, file_bytes=262144, limit=200):
    machine.run(f"rm -f /run/count; cat > /run/writer <<'END'\n{WRITER}\nEND\n"
                f"systemd-run --quiet --unit=writer bash /run/writer {folder} {file_bytes} {limit}")


def stop_writer(machine, folder=WRITER_FOLDER):
    machine.run(f"touch {folder}/stop")
    wait_until(lambda: machine.run("systemctl is-active writer", check=False).strip() != "active",
               f"{machine.name}'s writer has ended", 60)


def written(machine):
    return int(machine.run("cat /run/count 2>/dev/null || echo 0"))


def check_written(machine, folder=WRITER_FOLDER):
    """Reads everything back from the server, not from the guest's cache; returns the file count."""
    machine.run("sync; echo 3 > /proc/sys/vm/drop_caches")
    machine.run(f"cd {folder} && sha256sum --quiet -c sums")
    return int(machine.run(f"wc -l < {folder}/sums"))


class RoomBoots(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="gl-e2e-"))
        # PostgreSQL does not run as root and has to reach its folder.
        cls.folder.chmod(0o755)
        cls.addClassCleanup(cls.drop_folder)
        image = demo_image()
        cls.room = Room(log_dir=str(cls.folder / "log"))
        cls.addClassCleanup(cls.room.close)
        for address in PATHS:
            change_address(cls.room, "add", address)
        cls.server = RoomServer(cls.room, cls.folder / "state", [SERVER_ADDRESS, *PATHS])
        cls.server.cli("image", "import", IMAGE, image)
        cls.machines = {}
        for name, firmware, policy in ((DISCARD, "bios", "discard"), (KEEP, "uefi", "keep")):
            cls.server.cli("client", "add", name, "--mac", MACS[name])
            cls.server.cli("link", "create", "--client", name, "--image", IMAGE, "--policy", policy)
            machine = cls.room.machine(name, firmware, MACS[name])
            machine.stage = lambda client=name: cls.server.stages(client)
            cls.machines[name] = machine
        cls.golden = cls.version()

    @classmethod
    def drop_folder(cls):
        if os.environ.get("GOLDLINK_KEEP_STATE"):
            print(f"kept {cls.folder}")
        else:
            shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def version(cls):
        return cls.server.get(f"/images/{IMAGE}")["versions"][0]

    def run(self, result=None):
        problems = len(result.failures) + len(result.errors) if result else 0
        super().run(result)
        if result and len(result.failures) + len(result.errors) > problems:
            print(f"--- {self.id()}: end of the server's log\n{self.server.log()[-8000:]}", flush=True)
            result.stop()

    def both(self):
        return self.machines.values()

    def test_1_both_firmwares_reach_multi_user_with_an_iscsi_root(self):
        for machine in self.both():
            machine.start()
        for machine in self.both():
            machine.wait_booted()
        for name, machine in self.machines.items():
            with self.subTest(name):
                root = machine.run("findmnt -no SOURCE /").strip()
                # .../host0/session1/target0:0:0/0:0:0:0/block/sda/sda3
                path = machine.run(f"readlink -f /sys/class/block/{os.path.basename(root)}").split("/")
                session = next(part for part in path if part.startswith("session"))
                target = machine.run(f"cat /sys/class/iscsi_session/{session}/targetname").strip()
                link = self.server.get(f"/clients/{name}")["link_id"]
                self.assertEqual(target, self.server.get(f"/links/{link}")["iqn"])
                firmware = "uefi" if "yes" in machine.run("test -d /sys/firmware/efi && echo yes || true") else "bios"
                self.assertEqual(firmware, machine.firmware)

    def test_2_each_boot_shows_its_stages(self):
        # The BIOS machine's network card is an iPXE itself: no DHCP before iPXE's own, and no NBP.
        expected = {DISCARD: ["ipxe", "script", "login", "os_login", "first_write"],
                    KEEP: ["dhcp", "nbp", "ipxe", "script", "login", "os_login", "first_write"]}
        for name, wanted in expected.items():
            with self.subTest(name):
                stages = wait_until(
                    lambda client=name, count=len(wanted): (
                        self.server.stages(client) if len(self.server.stages(client)) >= count else None),
                    f"{len(wanted)} stages of {name}'s boot; there are {self.server.stages(name)}")
                self.assertEqual([stage for stage, _ in stages], wanted)
                times = [after_ms for _, after_ms in stages]
                self.assertEqual(times, sorted(times))
                boot = self.server.get(f"/clients/{name}")["last_boot"]
                self.assertEqual(boot["state"], "running")
                self.assertIsNone(boot["problem"])

    def test_3_two_at_once_do_not_see_each_other(self):
        for name, machine in self.machines.items():
            self.assertEqual(machine.run(f"test -e {NOTE} && echo there || echo absent").strip(), "absent")
            machine.run(f"echo {name} > {NOTE} && sync")
        for name, machine in self.machines.items():
            machine.run("echo 3 > /proc/sys/vm/drop_caches")
            self.assertEqual(machine.run(f"cat {NOTE}").strip(), name)

    def test_4_a_killed_target_loses_no_write(self):
        for machine in self.both():
            start_writer(machine)
        for machine in self.both():
            wait_until(lambda m=machine: written(m) >= 3, f"{machine.name} has written 3 files", 120)
        links = {name: self.server.get(f"/clients/{name}")["link_id"] for name in self.machines}
        reconnects = {name: len(self.server.target_events("reconnect", links[name])) for name in links}
        self.server.kill_target()
        before = {name: written(machine) for name, machine in self.machines.items()}
        for name, machine in self.machines.items():
            with self.subTest(name):
                # As many as may have been on their way to a cache that nobody had to answer for, and more.
                wait_until(lambda m=machine, n=name: written(m) >= before[n] + 5,
                           f"{name} goes on writing after its server was killed", 180)
                stop_writer(machine)
                self.assertEqual(machine.run("systemctl is-failed writer", check=False).strip(), "inactive")
                self.assertGreater(len(self.server.target_events("reconnect", links[name])),
                                   reconnects[name])
                self.assertGreaterEqual(check_written(machine), before[name] + 5)
                self.assertEqual(machine.run("dmesg | grep -c 'I/O error' || true").strip(), "0")
                self.assertIn("rw", machine.run("findmnt -no OPTIONS /").split(","))

    def test_5_a_reboot_is_fresh_under_discard_and_kept_under_keep(self):
        # The manager and its database are down meanwhile: a room boots without them.
        boots = {name: self.server.get(f"/clients/{name}")["last_boot"]["id"] for name in self.machines}
        files = int(self.machines[KEEP].run(f"wc -l < {WRITER_FOLDER}/sums"))
        with self.server.without_registry():
            for machine in self.both():
                machine.stage = None  # nobody to ask
                machine.begin_reboot()
            for machine in self.both():
                machine.wait_booted()
        self.assertEqual(self.machines[DISCARD].run(
            f"ls -d {NOTE} {WRITER_FOLDER} 2>/dev/null || true").strip(), "")
        self.assertEqual(self.machines[KEEP].run(f"cat {NOTE}").strip(), KEEP)
        self.assertEqual(check_written(self.machines[KEEP]), files)
        # The registry learns of these boots when it is back.
        for name in self.machines:
            wait_until(lambda client=name: self.server.stages(client)[-1:] and
                       self.server.stages(client)[-1][0] == "first_write" and
                       self.server.get(f"/clients/{client}")["last_boot"]["id"] != boots[client],
                       f"the stages of {name}'s boot without a manager", 60)

    def test_6_a_disk_over_two_paths_survives_cut_and_lost_connections(self):
        machine, folder = self.machines[KEEP], "/mnt/written"
        link = self.server.cli("link", "create", "--lease", "30m", "--image", IMAGE)
        paths = GuestPaths(machine, link, PATHS, link["portal"].rpartition(":")[2])
        shown = [[iqn for _, iqn in paths.discover(paths.portals[0], proves)] for proves in (False, True)]
        self.assertNotIn(link["iqn"], shown[0])
        self.assertIn(link["iqn"], shown[1])
        paths.login()
        for portal in paths.portals:
            self.assertEqual((paths.state(portal), paths.digests(portal)), ("LOGGED_IN", [True, True]))
        disk = paths.join()
        machine.run(f"mkfs.ext4 -q -F {disk} && mount {disk} /mnt")
        start_writer(machine, folder, file_bytes=16384, limit=20000)

        def goes_on(after):
            paths.heal()
            return written(machine) >= after
        wait_until(lambda: goes_on(2), "files are written over both paths", 120)
        for address, portal in zip(PATHS, paths.portals):
            lost = paths.recoveries(portal)
            cut_connections(self.room, address)
            wait_until(lambda p=portal, n=lost: paths.recoveries(p) > n and paths.state(p) == "LOGGED_IN",
                       f"{portal} is logged in again after its connection was cut", 120)
            files = written(machine)
            wait_until(lambda n=files: goes_on(n + 2), "the writer goes on", 120)
        for address, portal in zip(PATHS, paths.portals):
            with address_away(self.room, address):
                wait_until(lambda p=portal: not paths.path_works(p), f"{portal} is found lost", 120)
                files = written(machine)
                wait_until(lambda n=files: goes_on(n + 2), "the writer goes on over the other path", 120)
                self.assertFalse(paths.path_works(portal))
            wait_until(lambda p=portal: goes_on(0) and paths.path_works(p), f"{portal} works again", 120)
        stop_writer(machine, folder)
        self.assertEqual(machine.run("systemctl is-failed writer", check=False).strip(), "inactive")
        self.assertGreaterEqual(check_written(machine, folder), 10)
        machine.run("umount /mnt")
        paths.logout()
        self.server.cli("link", "rm", link["id"])

    def test_7_the_golden_version_is_unchanged(self):
        for machine in self.both():
            machine.power_off()
        version = self.version()
        self.assertEqual(version["digest"], self.golden["digest"])
        self.assertEqual(version["state"], "ready")
        # Reads every chunk and compares it with its digest.
        self.server.cli("image", "verify", f"{IMAGE}@{version['number']}")

    def test_8_a_new_machine_registers_itself_and_boots_once_approved(self):
        machine = self.room.machine("newcomer", "bios", "52:54:00:e2:e0:03")
        machine.start()
        client = wait_until(lambda: self.server.cli("client", "ls", "--state", "pending"),
                            "a pending client", 120)[0]
        self.assertEqual(client["macs"], [machine.mac])
        # Nobody touches its keyboard: it looks for a local disk, finds none and asks again.
        self.server.cli("client", "approve", client["name"])
        self.server.cli("link", "create", "--client", client["name"], "--image", IMAGE)
        machine.stage = lambda: self.server.stages(client["name"])
        machine.wait_booted()
        boot = self.server.get(f"/clients/{client['name']}")["last_boot"]
        self.assertEqual((boot["state"], boot["problem"]), ("running", None))

    def test_9_the_server_ends_cleanly(self):
        self.server.stop()


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("the room needs root: it makes network namespaces and interfaces")
    started_at = time.monotonic()
    program = unittest.main(exit=False)
    print(f"the room's tests took {time.monotonic() - started_at:.0f} s")
    raise SystemExit(not program.result.wasSuccessful())
