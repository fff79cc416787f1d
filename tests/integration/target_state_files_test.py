"""State files that the target can do without, each damaged in every way: it starts, serves, keeps the
damaged file, and names it in its status."""

import json
import os
import pathlib
import shutil
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.iscsi import Initiator  # noqa: E402
from harness.processes import TestCase, wait_until  # noqa: E402
from harness.target_case import SECRET, Target  # noqa: E402

BLOCK = 4096


def cut(path):
    path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2])


def garbled(path):
    path.write_bytes(bytes(byte ^ 0x5A for byte in path.read_bytes()))


def zeroes(path):
    path.write_bytes(bytes(path.stat().st_size))


def empty(path):
    path.write_bytes(b"")


def newer(path):
    path.write_text(json.dumps({"format": 99, "tasks": [], "versions": [], "chunks": [], "seq": "new"}) + "\n")


def folder(path):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


class StateFiles(TestCase):
    def setUp(self):
        super().setUp()
        self.target = Target(self).start()
        self.digest = self.target.import_image(os.urandom(1 << 20))
        self.link = self.target.put_link("pc", self.digest, policy="keep")
        self.check(self.target.api.put("/pins", {"versions": [self.digest]}), 204)
        self.written = os.urandom(BLOCK)
        with self.login() as initiator:
            initiator.write(8, self.written)
        self.target.daemon.stop()
        traces = self.target.state_dir / "boot-traces"
        (traces / self.digest).write_text(json.dumps(
            {"recorded_at": "2026-11-21T09:15:02.125Z", "inherited": False, "chunks": [0, 1, 2]}))
        self.files = [self.target.state_dir / name for name in ("tasks.json", "pins.json", "events.jsonl")]
        self.files.append(traces / self.digest)

    def login(self):
        return Initiator(self.target.portal).login("iqn.2026-11.io.goldlink:pc", "user", SECRET)

    def assert_serves(self):
        with self.login() as initiator:
            self.assertEqual(initiator.read(8, BLOCK // 512), self.written)
        self.check(self.target.api.get(f"/versions/{self.digest}"), 200)
        self.check(self.target.api.get("/live"), 200)

    def test_whole_files_are_no_problem(self):
        for path in self.files:
            self.assertTrue(path.is_file(), path)
        self.target.start()
        self.assert_serves()
        status = self.check(self.target.api.get("/status"), 200)
        self.assertEqual((status["problems"], status["links_ready"]), ([], 1))

    def test_damaged_files_are_set_aside(self):
        for damage in (cut, garbled, zeroes, empty, newer, folder):
            with self.subTest(damage.__name__):
                wanted = {}
                for path in self.files:
                    damage(path)
                    wanted[path] = None if path.is_dir() else path.read_bytes()
                self.target.start()
                self.assert_serves()
                problems = self.check(self.target.api.get("/status"), 200)["problems"]
                for path, content in wanted.items():
                    # An empty log of events is one that has none; one cut short was being written to.
                    if path.name == "events.jsonl" and damage in (empty, cut):
                        continue
                    with self.subTest(path.name):
                        told = [problem for problem in problems if problem["message"].startswith(f"{path} cannot be used")]
                        self.assertEqual(len(told), 1, problems)
                        aside = list(path.parent.glob(f"{path.name}.damaged-*"))
                        self.assertEqual(len(aside), 1)
                        self.assertIn(str(aside[0]), told[0]["advice"])
                        if content is not None:
                            self.assertEqual(aside[0].read_bytes(), content)
                        self.assertIn(f"{path} cannot be used", self.target.daemon.log())
                        shutil.rmtree(aside[0]) if aside[0].is_dir() else aside[0].unlink()
                # What was forgotten is made anew, so that the next way has something to damage.
                self.check(self.target.api.put("/pins", {"versions": [self.digest]}), 204)
                self.target.import_image(os.urandom(4096), "other.raw")
                self.target.daemon.stop()
                self.files[-1].write_text(json.dumps(
                    {"recorded_at": "2026-11-21T09:15:02.125Z", "inherited": False, "chunks": [0, 1, 2]}))

    def test_files_in_the_place_of_folders(self):
        for name in ("uploads", "exports", "boot-traces"):
            path = self.target.state_dir / name
            shutil.rmtree(path, ignore_errors=True)
            path.write_text("no folder")
        self.target.start()
        self.assert_serves()
        problems = self.check(self.target.api.get("/status"), 200)["problems"]
        for name in ("uploads", "exports", "boot-traces"):
            self.assertEqual(len(list(self.target.state_dir.glob(f"{name}.damaged-*"))), 1, problems)
            self.assertTrue((self.target.state_dir / name).is_dir())
        self.target.import_image(os.urandom(4096), "other.raw")


class FullDisk(TestCase):
    """The state folder's file system is full to its last byte."""

    def setUp(self):
        super().setUp()
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.assertEqual(os.system(f"mount -t tmpfs -o size=64M none {self.disk}"), 0)
        self.addCleanup(os.system, f"umount -l {self.disk}")
        self.target = Target(self, state_dir=self.disk / "target").start()
        digest = self.target.import_image(os.urandom(1 << 20))
        self.target.put_link("pc", digest, policy="keep")

    def fill(self):
        with open(self.disk / "ballast", "ab", buffering=0) as ballast:
            for step in (1 << 20, 4096):
                try:
                    while True:
                        ballast.write(b"x" * step)
                except OSError:
                    pass

    def login(self):
        return Initiator(self.target.portal).login("iqn.2026-11.io.goldlink:pc", "user", SECRET)

    def test_it_starts_and_serves_and_its_log_of_events_catches_up(self):
        self.target.daemon.kill()
        self.fill()
        self.target.start()
        with self.login() as initiator:
            initiator.read(0, 8)
        problems = self.check(self.target.api.get("/status"), 200)["problems"]
        self.assertTrue([one for one in problems if "events are kept in memory only" in one["message"]], problems)
        events = self.check(self.target.api.get("/events?after=0"), 200)["events"]
        login = [event for event in events if event["kind"] == "login"]
        self.assertTrue(login, events)
        (self.disk / "ballast").unlink()
        wait_until(lambda: not self.check(self.target.api.get("/status"), 200)["problems"], "the file catches up")
        stored = (self.disk / "target" / "events.jsonl").read_text()
        self.assertIn(f'"seq":{login[-1]["seq"]},', stored)


if __name__ == "__main__":
    unittest.main()
