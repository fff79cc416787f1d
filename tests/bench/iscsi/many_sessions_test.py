"""A thousand idle sessions and three hundred busy ones on one process: what an idle session costs in
memory, and that the busy ones are served alike. Figures are printed; what is asserted are ratios of one run."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from harness import processes  # noqa: E402
from harness.target import Target  # noqa: E402

MIB = 1 << 20
IDLE, BUSY = 1000, 300
MAX_IDLE_KIB = 64
MAX_UNFAIRNESS = 5  # the worst session's p99 against the median session's
TRIES = 3  # a machine that stops for a moment stops some sessions and not others


def anonymous_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1))


class ManySessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="goldlink-sessions-")
        cls.addClassCleanup(folder.cleanup)
        path = pathlib.Path(folder.name)
        image = path / "image.raw"
        image.write_bytes(bytes(range(1, 256)) * (64 * MIB // 255) + b"\1" * (64 * MIB % 255))
        cls.target = Target(path / "target", ["--reactors", "1", "--max-sessions-per-initiator", "4096", "--logins-per-second", "100000"])
        cls.target.start()
        cls.addClassCleanup(cls.target.stop)
        cls.iqn = "iqn.2026-11.io.goldlink:many"
        cls.target.link(cls.iqn, cls.target.import_image(image))

    def load(self, *arguments):
        done = subprocess.run(
            [processes.binary("load_generator"), "--port", str(self.target.port), "--target", self.iqn,
             "--set-bytes", str(64 * MIB), "--pid", str(self.target.daemon.pid), *map(str, arguments)],
            capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_an_idle_session_costs_little_and_gives_it_back(self):
        before = anonymous_kib(self.target.daemon.pid)
        process = subprocess.Popen(
            [processes.binary("load_generator"), "--port", str(self.target.port), "--target", self.iqn,
             "--set-bytes", str(64 * MIB), "--idle", str(IDLE), "--seconds", "600", "--warm-up", "0"],
            stdout=subprocess.DEVNULL)
        try:
            processes.wait_until(lambda: self.sessions() == IDLE + 1, "all have logged in", 120)
            cost_kib = (anonymous_kib(self.target.daemon.pid) - before) / IDLE
        finally:
            process.kill()  # ours, by its own pid
            process.wait()
        print(f"\nan idle session: {cost_kib:.1f} KiB")
        self.assertLess(cost_kib, MAX_IDLE_KIB)
        processes.wait_until(lambda: self.sessions() == 0, "all are gone", 60)

    def sessions(self):
        return self.target.api.get("/status").json["sessions"]

    def test_busy_sessions_are_served_alike(self):
        worst = []
        for _ in range(TRIES):
            sample = self.load("--sessions", BUSY, "--depth", 4, "--idle", IDLE, "--seconds", 2)
            worst.append(sample["session_p99_worst_us"] / sample["session_p99_median_us"])
            print(f"\n{BUSY} busy beside {IDLE} idle: {sample['iops']:,.0f} IOPS, p99 of a session "
                  f"{sample['session_p99_median_us']:,.0f} us in the median, {sample['session_p99_worst_us']:,.0f} us at worst")
            if worst[-1] <= MAX_UNFAIRNESS:
                return
        self.fail(f"the worst session's p99 was {min(worst):.1f} times the median's or more, {TRIES} times")


if __name__ == "__main__":
    unittest.main()
