"""goldlink-target against libiscsi's whole test suite, on a disk over an imported image.

What does not pass is in expected_failures.txt; the comparison is exact. Against another target:
    python3 libiscsi_test.py --url iscsi://host:port/iqn/lun     (its data is lost)
"""

import os
import pathlib
import sys
import unittest

from harness import processes
from harness.target import Target

import libiscsi_suite as suite

EXPECTATIONS = pathlib.Path(__file__).resolve().parent / "expected_failures.txt"
MIB = 1 << 20
IMAGE_BYTES = 256 * MIB


class Parser(unittest.TestCase):
    """Of what iscsi-test-cu prints; each line below was seen."""

    TEXT = """
Suite: Inquiry
  Test: Standard ...passed
  Test: EVPD ...    [SKIPPED] Not there.
passed
  Test: BlockLimits ...FAILED
    1. test_inquiry_block_limits.c:155  - CU_ASSERT_TRUE(bl->max_unmap <= 1024*1024)
  Test: Noisy ...passed    [FAILED] PRIN command: failed with sense.

Suite: Unmap
  Test: Simple ...    [FAILED] UNMAP command failed
    [FAILED] again
FAILED
    1. test_unmap_simple.c:1  - CU_ASSERT_EQUAL(ret,0)
  Test: Died ...
Run Summary:    Type  Total    Ran Passed Failed Inactive
"""

    def test_outcomes(self):
        states = {name: outcome.state for name, outcome in suite.parse(self.TEXT).items()}
        self.assertEqual(states, {
            "Inquiry.Standard": "passed", "Inquiry.EVPD": "skipped", "Inquiry.BlockLimits": "failed",
            "Inquiry.Noisy": "passed", "Unmap.Simple": "failed", "Unmap.Died": "missing"})

    def test_notes_tell_why(self):
        outcomes = suite.parse(self.TEXT)
        self.assertIn("test_inquiry_block_limits.c:155", outcomes["Inquiry.BlockLimits"].notes[0])
        self.assertEqual(outcomes["Unmap.Simple"].notes[:2], ["UNMAP command failed", "again"])

    def test_differences_are_exact(self):
        outcomes = suite.parse(self.TEXT)
        listed = list(outcomes) + ["Unmap.Absent"]
        expected = {"Inquiry.EVPD": suite.Expectation("skipped", "r"), "Inquiry.BlockLimits": suite.Expectation("failed", "r"),
                    "Inquiry.Standard": suite.Expectation("failed", "r"), "Gone.Test": suite.Expectation("failed", "r")}
        found = [line.split(":")[0] for line in suite.differences(outcomes, expected, listed)]
        self.assertEqual(found, ["Inquiry.Standard", "Unmap.Simple", "Unmap.Died", "Unmap.Absent", "Gone.Test"])


class Libiscsi(processes.TestCase):
    def setUp(self):
        super().setUp()
        image = self.folder / "image.raw"
        with open(image, "wb") as file:
            file.write(os.urandom(64 * MIB))  # data of the image below, and a sparse rest
            file.truncate(IMAGE_BYTES)
        self.second_portal = f"127.0.0.1:{processes.free_port()}"
        self.target = Target(self.folder / "target", ["--portal", self.second_portal])
        self._daemons.append(self.target.daemon)
        self.addCleanup(self.target.stop)
        self.target.start()
        self.digest = self.target.import_image(image)

    def check_policy(self, policy):
        iqn = f"iqn.2026-11.io.goldlink:conformance-{policy}"
        self.target.link(iqn, self.digest, policy)
        # The second portal is a second path, which the multipath tests need.
        compare(self, f"iscsi://{self.target.portal}/{iqn}/0", f"iscsi://{self.second_portal}/{iqn}/0")

    def test_discard(self):
        self.check_policy("discard")

    def test_keep(self):
        self.check_policy("keep")


class Profiles(processes.TestCase):
    """What a link's disk is not, on disks in memory behind the same device server."""

    def check_profile(self, option, suites):
        port = processes.free_port()
        self.daemon("ram_target", ["--listen", f"127.0.0.1:{port}", "--size-mib", "64", option]).start()
        url = f"iscsi://127.0.0.1:{port}/iqn.2026-11.io.goldlink:ram0/0"
        expectations = EXPECTATIONS.with_name(f"expected_failures_{option.strip('-').replace('-', '_')}.txt")
        for name in suites:
            listed = [test for test in suite.listed_tests() if test.startswith(name + ".")]
            expected = {test: reason for test, reason in suite.read_expectations(expectations).items()
                        if test.startswith(name + ".")}
            outcomes, _ = suite.run(url, family=f"{suite.FAMILY}.{name}")
            found = suite.differences(outcomes, expected, listed)
            if found:
                self.fail(f"{len(found)} tests are not as {expectations.name} says:\n  " + "\n  ".join(found))
            print(f"iscsi-test-cu {option} {name}: {suite.totals(outcomes)}", file=sys.stderr)

    def test_removable(self):
        self.check_profile("--removable", ["NoMedia", "PreventAllow", "StartStopUnit"])

    def test_read_only(self):
        self.check_profile("--read-only", ["ReadOnly"])


def compare(test, url, second_url):
    outcomes, text = suite.run(url, second_url)
    found = suite.differences(outcomes, suite.read_expectations(EXPECTATIONS), suite.listed_tests())
    print(f"iscsi-test-cu: {suite.totals(outcomes)}", file=sys.stderr)
    if found:
        test.fail(f"{len(found)} tests are not as {EXPECTATIONS.name} says:\n  " + "\n  ".join(found))
    return text


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--url":
        compare(unittest.TestCase(), sys.argv[2], sys.argv[2])
    else:
        unittest.main()
