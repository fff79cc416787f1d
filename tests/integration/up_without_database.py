"""`goldlink up` on a server with state serves its PCs whatever the database does, tells the service
manager so, and is whole again by itself when the database can start."""

import os
import pathlib
import shutil
import socket
import unittest

from harness.iscsi import Initiator
from harness.processes import TestCase, wait_until
from harness.up import Up

BLOCK = 4096
IMAGE_BYTES = 1 << 20
WITHOUT_POSTGRESQL = ["unshare", "--mount", "--", "sh", "-c",
                      "mount -t tmpfs none /usr/lib/postgresql && exec \"$@\"", "sh"]


class NotifySocket:
    """What systemd would hear (sd_notify(3))."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.lines = []

    def heard(self):
        try:
            while True:
                self.lines += self.socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return self.lines

    def status(self):
        texts = [line.removeprefix("STATUS=") for line in self.heard() if line.startswith("STATUS=")]
        return texts[-1] if texts else ""


class WithoutDatabase(TestCase):
    def setUp(self):
        super().setUp()
        self.up = Up(self.folder)
        self._daemons.append(self.up)
        self.addCleanup(self.up.stop)
        self.up.start()
        image = self.folder / "base.raw"
        image.write_bytes(os.urandom(IMAGE_BYTES))
        for arguments in (("image", "import", "base", image, "--format", "raw"),
                          ("client", "add", "PC-001", "--mac", "52:54:00:00:00:01")):
            done = self.up.cli(*arguments)
            self.assertEqual(done.code, 0, done)
        made = self.up.cli("link", "create", "--client", "PC-001", "--image", "base", "--policy", "keep", "--json")
        self.assertEqual(made.code, 0, made)
        self.link = made.json
        self.written = os.urandom(BLOCK)
        with self.login() as initiator:
            initiator.write(8, self.written)
        self.up.stop()
        self.notify = NotifySocket(self.folder / "notify")
        self.addCleanup(self.notify.socket.close)
        self.up.environment["NOTIFY_SOCKET"] = str(self.notify.path)
        self.up.environment["WATCHDOG_USEC"] = "1000000"

    def login(self):
        return Initiator(self.link["portal"]).login(self.link["iqn"], self.link["username"], self.link["secret"])

    def assert_clients_are_served(self, trouble):
        self.up.start(wait_ready=False)
        wait_until(lambda: "READY=1" in self.notify.heard(), "the service manager hears that clients are served", 60)
        target = self.up.children()["goldlink-target"]
        with self.login() as initiator:
            self.assertEqual(initiator.read(8, BLOCK // 512), self.written)
            wait_until(lambda: trouble in self.notify.status(), "it hears what does not work", 60)
            self.assertTrue(self.notify.status().startswith("clients are served; "), self.notify.status())
            # The database is tried again and again: neither that nor the manager's start ends the target.
            tries = self.up.log().count("starting it again in")
            wait_until(lambda: self.up.log().count("starting it again in") >= tries + 2, "it is tried again", 60)
            initiator.write(16, self.written)
            initiator.flush()
        self.assertEqual(self.up.children()["goldlink-target"], target)
        self.assertFalse(self.up._ready.is_set(), "`ready` is for when all parts serve")
        wait_until(lambda: "goldlink-manager" in self.up.children(), "the manager runs, to say what is wrong", 60)
        alive = self.notify.heard().count("WATCHDOG=1")
        wait_until(lambda: self.notify.heard().count("WATCHDOG=1") > alive, "the watchdog is fed")

    def assert_whole_again(self):
        self.up.wait_ready()
        wait_until(self.up.healthy, "every part works")
        self.assertEqual(self.notify.status(), "all parts serve")
        shown = self.up.cli("link", "show", self.link["id"], "--json")
        self.assertEqual(shown.code, 0, shown)
        self.assertEqual(shown.json["state"], "ready")

    def test_a_database_that_does_not_start(self):
        control = self.up.state_dir / "postgres" / "global" / "pg_control"
        shutil.move(control, self.folder / "pg_control")
        self.assert_clients_are_served("postgres exited with code")
        shutil.move(self.folder / "pg_control", control)
        self.assert_whole_again()

    def test_programs_of_postgresql_that_are_gone(self):
        wrapper, self.up.arguments = self.up.arguments, WITHOUT_POSTGRESQL + self.up.arguments
        self.assert_clients_are_served("whose programs are not here")
        self.assertIn("apt-get install postgresql-", self.up.log())
        self.up.stop()
        self.up.arguments = wrapper
        self.up.start()
        self.assert_whole_again()

    def test_a_database_that_cannot_be_made_anew(self):
        # Its folder is lost, and the disk has no place for another: initdb fails.
        shutil.move(self.up.state_dir / "postgres", self.folder / "postgres")
        blocked = self.up.state_dir / "postgres.new"
        blocked.mkdir()
        inside = blocked / "mounted"
        inside.mkdir()
        self.addCleanup(os.system, f"umount {inside}")
        self.assertEqual(os.system(f"mount -t tmpfs none {inside}"), 0)  # so that it cannot be cleared
        self.assert_clients_are_served("cannot clear")
        self.assertEqual(os.system(f"umount {inside}"), 0)
        self.up.stop()
        shutil.rmtree(self.up.state_dir / "postgres", ignore_errors=True)
        shutil.move(self.folder / "postgres", self.up.state_dir / "postgres")
        self.up.start()
        self.assert_whole_again()


if __name__ == "__main__":
    unittest.main()
