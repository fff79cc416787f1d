"""Whether the benchmark itself works: every workload against every target for a blink. How fast it was
does not matter here."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

RUN = pathlib.Path(__file__).resolve().parent / "run.py"
WORKLOADS = 9
MANY_SESSIONS = 3  # of them with more sessions than istgt answers


class Harness(unittest.TestCase):
    def test_every_workload_against_every_target(self):
        targets = ("tgt", "istgt", "goldlink", "paged", "ram", "echo")
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "samples.json"
            done = subprocess.run(
                [sys.executable, "-B", str(RUN), "--rounds", "1", "--seconds", "0.2", "--warm-up", "0.05",
                 "--sets", "64 MiB", "--targets", ",".join(targets), "--json", str(out)],
                capture_output=True, text=True, timeout=500, check=False)
            self.assertEqual(done.returncode, 0, done.stderr[-4000:])
            rows = json.loads(out.read_text())["results"]
        self.assertEqual(len(rows), WORKLOADS * len(targets) - MANY_SESSIONS)
        self.assertEqual({row["workload"] for row in rows if row["target"] == "goldlink"},
                         {row["workload"] for row in rows if row["target"] == "istgt"} |
                         {row["workload"] for row in rows if row["workload"].startswith("32 sessions")})
        for row in rows:
            with self.subTest(workload=row["workload"], target=row["target"]):
                self.assertGreater(row["median"]["operations"], 0)
                self.assertGreater(row["median"]["iops"], 0)
                self.assertGreater(row["median"]["latency_median_us"], 0)
        table = [line for line in done.stdout.splitlines() if line.startswith("| 4 KiB random read QD1 |")]
        self.assertEqual(len(table), 1, done.stdout)


if __name__ == "__main__":
    unittest.main()
