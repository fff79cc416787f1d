"""The soak's harness works: a few rounds of it, and what it says of a daemon that grows."""

import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import run  # noqa: E402


class Soak(unittest.TestCase):
    def test_a_short_one_ends_well(self):
        done = subprocess.run([run.__file__, "--minutes", "0.05", "--clients", "3"], capture_output=True, text=True,
                              timeout=500, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, "of 3 clients, [0-9]+ rounds .*every block as it must be")

    def test_growth_is_told(self):
        room = run.Room(pathlib.Path("/nowhere"), 1)
        room.samples = {"flat": [(100 * run.MIB, 50)] * 100,
                        "grows": [((100 + minute) * run.MIB, 50) for minute in range(100)],
                        "leaks": [(run.MIB, 50 + minute) for minute in range(100)]}
        grown = room.grown()
        self.assertEqual([line.split(":")[0] for line in grown], ["grows", "leaks"])
        self.assertIn("memory", grown[0])
        self.assertIn("descriptors", grown[1])


if __name__ == "__main__":
    unittest.main()
