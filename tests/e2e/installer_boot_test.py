"""An installer boots from an ISO beside a blank disk, fills it, and the PC then starts from that disk."""

import os
import pathlib
import shutil
import tempfile
import unittest

from installer_disc import write_disc
from room_server import Api, Room, RoomServer, wait_until

MAC = "52:54:00:e2:e1:01"
BOOT_SECONDS = 180  # emulated, on a machine that may be busy; alone it takes 10


class Installer(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gl-e2e-"))
        self.folder.chmod(0o755)  # PostgreSQL does not run as root and has to reach its folder
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        room = Room(log_dir=str(self.folder / "log"))
        self.addCleanup(room.close)
        self.server = RoomServer(room, self.folder / "state")
        self.machine = room.machine("pc", "bios", MAC)
        write_disc(self.folder / "setup.iso", self.folder)

    def said(self):
        path = pathlib.Path(self.machine.serial_path)
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_said(self, line):
        wait_until(lambda: line in self.said(),
                   f"'{line}' on the console, which ends with:\n{self.said()[-2000:]}", BOOT_SECONDS)

    def test_a_disc_installs_onto_a_blank_disk_that_then_boots(self):
        cli = self.server.cli
        cli("image", "import", "setup", self.folder / "setup.iso", "--format", "iso")
        cli("image", "create", "blank", "--size", "64M")
        cli("client", "add", "pc", "--mac", MAC)
        link = cli("link", "create", "--client", "pc", "--image", "blank", "--policy", "keep", "--disk", "1=setup", "--install")
        self.machine.start()
        for line in ("DISC started", "DISC reads itself", "DISC installed onto drive 80"):
            self.wait_said(line)
        self.assertNotIn("DISC failed", self.said())
        self.assertEqual(cli("link", "show", link["id"])["disks"][0]["overlay"]["used_bytes"], 4096)
        self.machine.stop()
        cli("link", "set", link["id"], "--no-install")
        pxe = Api(f"unix:{self.server.state_dir}/run/pxe.sock")
        wait_until(lambda: pxe.get("/table").json["clients"][0]["install_lun"] is None, "goldlink-pxe starts the disk")
        self.machine.start()
        self.wait_said("DISK started what the disc installed")
        self.assertEqual(self.said().count("DISC started"), 1)


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("the room needs root: it makes network namespaces and interfaces")
    unittest.main()
