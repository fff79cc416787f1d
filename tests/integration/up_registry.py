"""A server whose database is lost, and found again, or adopted in its place: no kept disk is lost on the
way."""

import os
import unittest

from harness import iscsi
from harness.processes import TestCase, wait_until
from harness.up import Up

MIB = 1 << 20
MINE = b"what the pupil wrote".ljust(4096, b".")


class LostDatabase(TestCase):
    def setUp(self):
        super().setUp()
        self.up = Up(self.folder)
        self._daemons.append(self.up)
        self.addCleanup(self.up.stop)
        self.start()
        self.image = self.folder / "image.raw"
        self.image.write_bytes(os.urandom(MIB))
        self.done("image", "import", "win", self.image, "--format", "raw")
        self.done("client", "add", "PC-1", "--mac", "52:54:00:00:00:01")
        self.link = self.done("link", "create", "--client", "PC-1", "--image", "win", "--policy", "keep", "--json").json
        client = self.login()
        client.write(8, MINE)
        client.flush()
        client.logout()

    def start(self, *arguments):
        self.up.arguments += arguments
        self.up.start()
        self.up.arguments = self.up.arguments[:len(self.up.arguments) - len(arguments)]

    def done(self, *arguments):
        done = self.up.cli(*arguments)
        self.assertEqual(done.code, 0, done)
        return done

    def login(self, link=None):
        link = link or self.link
        initiator = iscsi.Initiator(link["portal"], isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        return initiator.login(link["iqn"], link["username"], link["secret"])

    def assert_mine(self):
        client = self.login()
        self.assertEqual(client.read(8, 8), MINE)
        client.logout()

    def lose_database(self):
        self.up.stop()
        (self.up.state_dir / "postgres").rename(self.folder / "lost")

    def wait_refused(self):
        found = wait_until(lambda: (shown := self.up.cli("registry", "show", "--json")).code == 0
                           and shown.json["match"] == "other" and shown.json, "the target refuses the database")
        self.assertEqual([(link["id"], link["alias"], link["policy"]) for link in found["unknown_links"]],
                         [(self.link["id"], "PC-1", "keep")])

    def test_the_disk_serves_meanwhile_and_all_is_as_before_when_the_database_is_back(self):
        self.lose_database()
        self.start()
        self.assertIn("is missing, though this server had one", self.up.log())
        self.wait_refused()
        self.assertIn("goldlink registry show", self.up.cli("status").out)
        self.assert_mine()
        self.up.stop()
        (self.up.state_dir / "postgres").rename(self.folder / "empty")
        (self.folder / "lost").rename(self.up.state_dir / "postgres")
        self.start()
        wait_until(self.up.healthy, "every part works")
        self.assertEqual(self.done("link", "show", self.link["id"], "--json").json["state"], "ready")
        self.assert_mine()
        self.assertEqual(self.done("trash", "ls", "--json").json, [])

    def test_adopting_the_empty_one_puts_the_disk_into_the_trash(self):
        self.lose_database()
        self.start()
        self.wait_refused()
        refused = self.up.cli("registry", "adopt")
        self.assertEqual(refused.code, 1)
        self.assertIn("--remove 1", refused.err)
        self.assert_mine()
        self.done("registry", "adopt", "--remove", "1")
        wait_until(self.up.healthy, "the database counts")
        [entry] = wait_until(lambda: self.done("trash", "ls", "--json").json, "the disk is in the trash")
        self.assertEqual((entry["alias"], entry["disks"][0]["image"]), ("PC-1", None))

    def test_up_adopts_when_it_is_told_to_and_the_disk_comes_back_with_its_image_and_client(self):
        self.lose_database()
        self.start("--adopt-registry")
        wait_until(self.up.healthy, "the database counts")
        [entry] = wait_until(lambda: self.done("trash", "ls", "--json").json, "the disk is in the trash")
        self.done("image", "import", "win", self.image, "--format", "raw")
        self.done("client", "add", "PC-1", "--mac", "52:54:00:00:00:01")
        self.done("trash", "restore", entry["id"])
        link = wait_until(lambda: (shown := self.done("link", "show", self.link["id"], "--json").json)["state"] == "ready"
                          and shown, "the link is served")
        self.link = link
        self.assert_mine()
        self.done("link", "rm", link["id"])
        self.done("trash", "empty")
        self.assertEqual(self.done("trash", "ls", "--json").json, [])


if __name__ == "__main__":
    unittest.main()
