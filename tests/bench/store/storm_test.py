"""What does not depend on speed when a room starts at once: what is read from the disk."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

STORM = pathlib.Path(__file__).resolve().parent / "storm.py"
CLIENTS = 20


class BootStorm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "samples.json"
            done = subprocess.run([sys.executable, "-B", str(STORM), "--rounds", "1", "--clients", str(CLIENTS), "--json", str(out)],
                                  capture_output=True, text=True, timeout=500, check=False)
            assert done.returncode == 0, done.stderr[-4000:]
            cls.results = {name: samples[0] for name, samples in json.loads(out.read_text()).items()}

    def test_a_room_reads_from_the_disk_what_one_client_reads(self):
        one, storm = self.results["Goldlink, 1 client"], self.results[f"Goldlink, {CLIENTS} clients"]
        self.assertGreater(one["disk_bytes"], 0.5 * one["read_bytes"])
        self.assertLessEqual(storm["disk_bytes"], 1.1 * one["disk_bytes"])

    def test_what_was_read_ahead_is_not_read_again(self):
        one, ahead = self.results["Goldlink, 1 client"], self.results[f"Goldlink, {CLIENTS} clients, read ahead"]
        self.assertLess(ahead["disk_bytes"], 0.05 * one["disk_bytes"])

    def test_every_client_sent_its_whole_boot(self):
        counts = {sample["commands"] for sample in self.results.values()}
        self.assertEqual(len(counts), 1)
        self.assertGreater(counts.pop(), 1000)
        self.assertEqual(self.results[f"tgt, {CLIENTS} clients"]["clients"], CLIENTS)


if __name__ == "__main__":
    unittest.main()
