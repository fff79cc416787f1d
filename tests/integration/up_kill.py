"""`goldlink up` resumes: each child killed, itself killed, all killed at once, leftovers found."""

import os
import pathlib
import random
import signal
import subprocess
import unittest

from harness.processes import TestCase, wait_until
from harness.up import Up


class Kill(TestCase):
    def setUp(self):
        super().setUp()
        self.up = Up(self.folder)
        self._daemons.append(self.up)
        self.addCleanup(self.up.stop)
        self.up.start()
        added = self.up.cli("client", "add", "PC-001", "--mac", "52:54:00:00:00:01")
        self.assertEqual(added.code, 0, added)

    def assert_serves_with_state(self):
        wait_until(self.up.healthy, "every part works")
        shown = self.up.cli("client", "show", "PC-001", "--json")
        self.assertEqual(shown.code, 0, shown)
        self.assertEqual(shown.json["macs"], ["52:54:00:00:00:01"])

    def test_a_killed_child_is_started_again(self):
        for name, pid in sorted(self.up.children().items()):
            with self.subTest(name):
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: self.up.children().get(name) not in (None, pid), f"{name} runs again")
                wait_until(lambda: f"{name} serves again" in self.up.log(), f"{name} serves again")
                self.assert_serves_with_state()
                self.assertIn(f"{name} was killed by signal 9 (Killed)", self.up.log())
                for other, other_pid in self.up.children().items():
                    self.assertTrue(os.path.exists(f"/proc/{other_pid}"), other)

    def test_nothing_outlives_a_killed_up_and_the_next_one_resumes(self):
        token = self.up.token
        self.up.kill()
        wait_until(lambda: not self.up.processes(), "its children end with it")
        self.up.start()
        self.assertEqual(self.up.token, token)
        self.assert_serves_with_state()

    def test_the_next_one_need_not_wait_for_the_children_of_a_killed_one(self):
        for _ in range(3):
            self.up.kill()
            self.up.start()
            self.assert_serves_with_state()

    def test_all_killed_at_once_is_like_a_power_cut(self):
        for _ in range(2):
            self.up.kill_all()
            self.up.start()
            self.assert_serves_with_state()

    def test_leftovers_of_a_killed_up_are_ended_first(self):
        # PostgreSQL ends when its parent has died, but waits for a process of its own that is stopped. (Stopped
        # itself it would be woken: the kernel continues what is stopped in a group that lost its parent.)
        postgres = self.up.children()["postgres"]
        worker = int(pathlib.Path(f"/proc/{postgres}/task/{postgres}/children").read_text().split()[0])
        os.kill(worker, signal.SIGSTOP)
        wait_until(lambda: "State:\tT" in pathlib.Path(f"/proc/{worker}/status").read_text(), "it is stopped")
        self.up.kill()
        self.assertTrue(os.path.exists(f"/proc/{postgres}"))
        self.up.start()
        self.assert_serves_with_state()
        self.assertIn(f"PostgreSQL (pid {postgres}) of an earlier run is still there", self.up.log())
        self.assertNotEqual(self.up.children()["postgres"], postgres)

    def test_a_stale_pid_file_that_names_a_stranger_is_no_obstacle(self):
        self.up.kill_all()
        pid_file = self.up.state_dir / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines(keepends=True)
        pid_file.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
        (self.up.state_dir / "run" / "children").write_text(f"goldlink-target {os.getpid()} 1\n")
        self.up.start()
        self.assert_serves_with_state()


class KilledWhileMakingTheDatabase(TestCase):
    FILES = 950  # about as many as initdb makes
    ROUNDS = 4

    def up(self, name):
        up = Up(self.folder, state_dir=self.folder / name)
        up.log_path = self.folder / f"{name}.log"
        self._daemons.append(up)
        self.addCleanup(up.stop)
        return up

    def assert_serves(self, up):
        wait_until(up.healthy, "every part works")
        self.assertEqual(list(up.state_dir.glob("postgres.new*")), [])

    def files_made(self, up):
        """How many files the attempts of now hold; all of them, once one has become the database."""
        if (up.state_dir / "postgres").exists():
            return self.FILES
        return sum(len(files) for attempt in up.state_dir.glob("postgres.new*") for _, _, files in os.walk(attempt))

    def test_the_next_start_need_not_wait_for_what_still_makes_it(self):
        for number in range(self.ROUNDS):
            up = self.up(f"round{number}")
            for files in (random.randint(1, self.FILES), random.randint(1, self.FILES)):
                up.start(wait_ready=False)
                # Those of the attempt before may count too: then it is killed while it clears them.
                wait_until(lambda: not up.running() or self.files_made(up) >= files, f"{files} files are there", 60)
                self.assertTrue(up.running(), up.log())
                up.kill()
            up.start()
            self.assert_serves(up)
            up.stop()

    def test_what_still_works_on_an_earlier_attempt_is_ended(self):
        up = self.up("state")
        attempt = up.state_dir / "postgres.new.abcdef"
        attempt.mkdir(parents=True)
        worker = subprocess.Popen(["sh", "-c", "while :; do echo 15 > PG_VERSION; mkdir -p base; done 2>/dev/null"],
                                  cwd=attempt)
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        wait_until((attempt / "base").exists, "it works")
        up.start()
        self.assertEqual(worker.poll(), -signal.SIGKILL)
        self.assert_serves(up)

    def test_a_half_made_database_is_made_anew(self):
        up = self.up("state")
        half = up.state_dir / "postgres.new"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("14\n")
        up.start()
        self.assert_serves(up)


if __name__ == "__main__":
    unittest.main()
