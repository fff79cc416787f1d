"""goldlink-target against libiscsi's whole suite, on a disk with logical blocks of 4,096 bytes (4Kn)."""

import unittest
import uuid

from harness import processes, target_case

import libiscsi_suite as suite
from libiscsi_test import EXPECTATIONS, MIB

# What expected_failures.txt has for disks whose physical block is eight logical ones.
ONLY_WITH_512 = {"GetLBAStatus.UnmapSingle"}
# What the suite asks only of such disks.
SKIPPED = {name: suite.Expectation(suite.SKIPPED, "a physical block is one logical block") for name in (
    "CompareAndWrite.InvalidDataOutSize", "WriteSame10.InvalidDataOutSize", "WriteSame10.UnmapUnaligned",
    "WriteSame16.InvalidDataOutSize", "WriteSame16.UnmapUnaligned")}

# It writes up to 256 blocks without a look at MAXIMUM ATOMIC TRANSFER LENGTH, which is 32 of these.
FAILED = {"WriteAtomic16.Simple": suite.Expectation(suite.FAILED, "a write of more than the 128 KiB that VPD B0h allows")}
# It announces 512 bytes for a block, whatever a block has: nothing of it can be written, and that is said.
FAILED.update({f"ProutReserve.Access{kind}": suite.Expectation(suite.FAILED, "writes a block of 512 bytes")
               for kind in ("EA", "WE", "EARO", "WERO", "EAAR", "WEAR")})


class NativeBlocks(processes.TestCase):
    def test_keep(self):
        target = target_case.Target(self).start()
        blank = target.task(target.api.post("/imports", {"id": str(uuid.uuid4()), "blank_bytes": 256 * MIB}))
        disk = {"lun": 0, "version": blank["version"]["digest"], "policy": "keep", "logical_block_bytes": 4096}
        body = {**target.link_body("native", disk["version"], credentials=[]), "disks": [disk]}
        link = self.check(target.api.put(f"/links/{uuid.uuid4()}", body), 200)
        self.assertTrue(link["ready"], link)
        url = target.url(link, username=None)
        self.assertIn("LOGICAL BLOCK LENGTH IN BYTES:4096", target_case.run("iscsi-readcapacity16", url).stdout)
        outcomes, _ = suite.run(url, url)
        expected = {name: what for name, what in suite.read_expectations(EXPECTATIONS).items() if name not in ONLY_WITH_512}
        expected.update(SKIPPED)
        expected.update(FAILED)
        found = suite.differences(outcomes, expected, suite.listed_tests())
        self.assertEqual(found, [], "\n".join(found))


if __name__ == "__main__":
    unittest.main()
