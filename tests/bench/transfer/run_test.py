"""Whether the benchmark of copies itself works, and that the manager moves bodies on without reading them: in steps of
512 bytes a GiB took it eight seconds of CPU, however fast the machine."""

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
            done = subprocess.run([sys.executable, "-B", str(RUN), "--rounds", "1", "--mib", "256", "--json", str(out)],
                                  capture_output=True, text=True, timeout=500, check=False)
            self.assertEqual(done.returncode, 0, done.stderr[-4000:])
            results = {name: samples[0] for name, samples in json.loads(out.read_text()).items()}
        for what in ("import of a server path", "upload", "export", "push", "--delta"):
            with self.subTest(what):
                self.assertGreater(results[f"{what}, s"], 0)
        for what in ("upload", "export", "push", "--delta"):
            with self.subTest(what):
                self.assertLess(results[f"{what}, CPU of manager, s/GiB"], 2)


if __name__ == "__main__":
    unittest.main()
