"""Whether the benchmark of images and overlays itself works, and what does not depend on speed: space and memory."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

RUN = pathlib.Path(__file__).resolve().parent / "run.py"


class Harness(unittest.TestCase):
    def test_everything_is_measured_once(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "samples.json"
            done = subprocess.run(
                [sys.executable, "-B", str(RUN), "--rounds", "1", "--seconds", "0.2", "--mib", "64", "--json", str(out)],
                capture_output=True, text=True, timeout=500, check=False)
            self.assertEqual(done.returncode, 0, done.stderr[-4000:])
            results = {name: samples[0] for name, samples in json.loads(out.read_text()).items()}
        self.assertEqual(len(results), 15, results)
        for name, value in results.items():
            with self.subTest(name):
                self.assertGreater(value, 0)
        self.assertLess(results["overlay used per byte written"], 1.01)
        # 8 bytes a chunk, and little else.
        self.assertLess(results["memory of an open 256 GiB version, MiB"], 40)
        self.assertLess(results["memory per link, KiB"], 128)


if __name__ == "__main__":
    unittest.main()
