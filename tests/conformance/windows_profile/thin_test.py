"""Thin provisioning as Windows' Optimize, Format and file deletion use it: every page says the same, and TRIM trims."""

import os
import struct
import unittest

from harness.fields import extract
from windows import Case, MIB

BLOCKS = 8 * MIB // 512
MAPPED, DEALLOCATED = 0, 1


def unmap_list(*ranges):
    descriptors = b"".join(struct.pack(">QI4x", lba, count) for lba, count in ranges)
    return struct.pack(">HH4x", 6 + len(descriptors), len(descriptors)) + descriptors


class Thin(Case):
    def setUp(self):
        super().setUp()
        self.windows = self.log_in()

    def page(self, code):
        return self.good(self.windows.exchange(bytes([0x12, 1, code, 0, 255, 0]), 255))

    def unmap(self, *ranges, anchor=0):
        data = unmap_list(*ranges)
        return self.windows.exchange(struct.pack(">BB5xHB", 0x42, anchor, len(data), 0), data=data)

    def read(self, lba, count):
        cdb = struct.pack(">BBQIBB", 0x88, 0, lba, count, 0, 0)
        return self.good(self.windows.exchange(cdb, count * 512), count * 512)

    def write(self, lba, data):
        cdb = struct.pack(">BBQIBB", 0x8A, 0, lba, len(data) // 512, 0, 0)
        self.good(self.windows.exchange(cdb, data=data))

    def status(self, lba, length=4096):
        """GET LBA STATUS: [(lba, blocks, provisioning status)], checked as SBC-3 5.4.2 has it."""
        cdb = struct.pack(">BBQIBB", 0x9E, 0x12, lba, length, 0, 0)
        data = self.good(self.windows.exchange(cdb, length))
        self.assertEqual(int.from_bytes(data[:4], "big"), len(data) - 4)
        self.assertEqual((data[4:8], (len(data) - 8) % 16), (bytes(4), 0))
        found = []
        for at in range(8, len(data), 16):
            start, count = struct.unpack(">QI", data[at:at + 12])
            self.assertEqual(data[at + 13:at + 16], bytes(3))
            found.append((start, count, data[at + 12]))
        self.assertEqual(found[0][0], lba)
        for (start, count, _), (following, _, _) in zip(found, found[1:]):
            self.assertEqual(start + count, following)  # contiguous
        self.assertTrue(all(count > 0 for _, count, _ in found), found)
        return found

    def state_of(self, lba):
        return self.status(lba)[0][2]

    def test_every_page_says_the_same(self):
        capacity = self.good(self.windows.exchange(bytes([0x9E, 0x10] + [0] * 8 + [0, 0, 0, 32, 0, 0]), 32))
        provisioning, limits = self.page(0xB2), self.page(0xB0)
        lbpme, lbprz = extract(capacity, 14, 7, 1), extract(capacity, 14, 6, 1)
        self.assertEqual(lbpme, 1)
        self.assertEqual(extract(provisioning, 5, 4, 3), lbprz)
        self.assertEqual(extract(provisioning, 6, 2, 3), 2)        # thin
        self.assertEqual(extract(provisioning, 5, 7, 1), 1)        # LBPU: UNMAP, and only that Windows uses
        supported = self.windows.exchange(bytes([0xA3, 0x0C, 1, 0x42, 0, 0, 0, 0, 1, 0, 0, 0]), 256).data
        self.assertEqual(supported[1] & 7, 3)
        self.assertGreater(extract(limits, 20, 7, 32) * extract(limits, 24, 7, 32), 0)

    def test_unmapped_blocks_read_zero_and_are_deallocated(self):
        self.write(64, os.urandom(65536))
        self.assertEqual(self.state_of(64), MAPPED)
        self.good(self.unmap((64, 128)))
        self.assertEqual(self.read(64, 128), bytes(65536))
        self.assertEqual(self.state_of(64), DEALLOCATED)
        self.assertEqual(self.read(0, 64), self.image[:32768])
        self.assertEqual(self.read(192, 64), self.image[192 * 512:256 * 512])

    def test_unmap_of_the_images_own_blocks_reads_zero(self):
        self.good(self.unmap((4096 + 2048, 1024), (0, 8)))
        self.assertEqual(self.read(4096 + 2048, 1024), bytes(524288))
        self.assertEqual(self.read(0, 8), bytes(4096))
        self.assertEqual(self.read(8, 8), self.image[4096:8192])

    def test_a_part_of_a_physical_block_reads_zero_too(self):
        # LBPRZ holds of every block that was unmapped, whatever the granularity (SBC-3 4.7.3.2).
        self.good(self.unmap((9, 3)))
        self.assertEqual(self.read(8, 8), self.image[4096:4608] + bytes(1536) + self.image[6144:8192])

    def test_blocks_written_again_are_mapped_again(self):
        self.good(self.unmap((128, 64)))
        block = os.urandom(4096)
        self.write(136, block)
        self.assertEqual(self.state_of(136), MAPPED)
        self.assertEqual(self.read(128, 64), bytes(4096) + block + bytes(6 * 4096))

    def test_deallocated_blocks_read_zero_wherever_they_are(self):
        self.good(self.unmap((512, 100)))
        self.write(1024, os.urandom(4096))
        at = 0
        while at < BLOCKS:
            for lba, count, state in self.status(at):
                self.assertIn(state, (MAPPED, DEALLOCATED))
                if state == DEALLOCATED:
                    for part in range(lba, lba + count, 2048):
                        blocks = min(2048, lba + count - part)
                        self.assertEqual(self.read(part, blocks), bytes(512 * blocks), f"block {part}")
                at = lba + count
        self.assertEqual(at, BLOCKS)
        # The 2 MiB of zeroes in the image take no place and are told so.
        self.assertEqual(self.state_of(4096), DEALLOCATED)

    def test_get_lba_status_of_one_descriptor_and_beyond_the_end(self):
        self.assertEqual(len(self.status(100, 24)), 1)
        for lba, length, condition in ((BLOCKS, 24, (5, 0x21, 0)), (0, 23, (5, 0x24, 0))):
            cdb = struct.pack(">BBQIBB", 0x9E, 0x12, lba, length, 0, 0)
            self.refused(self.windows.exchange(cdb, length), *condition)

    def test_limits_of_unmap_are_those_of_the_page(self):
        limits = self.page(0xB0)
        blocks, descriptors = extract(limits, 20, 7, 32), extract(limits, 24, 7, 32)
        ranges = [(8 * number, 8) for number in range(descriptors)]
        self.good(self.unmap(*ranges))
        self.assertEqual(self.read(0, 8 * descriptors), bytes(4096 * descriptors))
        # SBC-3 5.28.2: more than the maximum is refused, and nothing is unmapped.
        self.write(4096, b"x" * 512)
        self.refused(self.unmap(*[(4096 + number, 1) for number in range(descriptors + 1)]), 5, 0x26, 0)
        self.assertEqual(self.read(4096, 1), b"x" * 512)
        self.good(self.unmap((0, min(blocks, BLOCKS))))

    def test_unmap_lists_that_are_empty_or_wrong(self):
        self.good(self.windows.exchange(bytes([0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0])))
        self.good(self.unmap())
        self.good(self.unmap((5, 0)))
        self.refused(self.unmap((BLOCKS, 1)), 5, 0x21, 0)
        self.refused(self.unmap((0, 8), (BLOCKS - 1, 2)), 5, 0x21, 0)
        self.assertEqual(self.read(0, 8), self.image[:4096])
        self.refused(self.unmap((0, 8), anchor=1), 5, 0x24, 0)  # ANC_SUP is zero
        short = unmap_list((0, 8))[:7]
        self.refused(self.windows.exchange(bytes([0x42, 0, 0, 0, 0, 0, 0, 0, 7, 0]), data=short), 5, 0x1A, 0)


class Space(Case):
    """A full disk of a thin link is what Windows knows: 7/27/07, and reads go on."""

    def setUp(self):
        super().setUp()
        body = self.target.link_body("quota", self.version)
        body["disks"][0]["quota_bytes"] = MIB
        self.link = self.check(self.target.api.put(f"/links/{self.link['id']}", body), 200)

    def space(self, windows):
        """(available, used) in bytes, of LOG SENSE page 0Ch (SBC-3 6.4.5)."""
        exponent = self.good(windows.exchange(bytes([0x12, 1, 0xB2, 0, 8, 0]), 8))[4]
        data = self.good(windows.exchange(bytes([0x4D, 0, 0x4C, 0, 0, 0, 0, 0, 255, 0]), 255))
        self.assertEqual((data[:4].hex(), len(data)), ("0c000018", 28))
        counts = [struct.unpack(">HBBIB3x", data[at:at + 12]) for at in (4, 16)]
        self.assertEqual([(code, flags & 3, length, scope) for code, flags, length, _, scope in counts],
                         [(1, 3, 8, 1), (2, 3, 8, 1)])
        return tuple(sets * 512 << exponent for _, _, _, sets, _ in counts)

    def test_space_gets_short(self):
        windows = self.log_in()
        self.assertEqual(self.space(windows), (MIB, 0))
        page = bytes([0x01, 10, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0])  # LBPERE
        self.good(windows.exchange(bytes([0x15, 0x10, 0, 0, 16, 0]), data=bytes(4) + page))
        for number in range(13):  # over 80 % of 1 MiB
            self.good(windows.exchange(struct.pack(">BBQIBB", 0x8A, 0, number * 128, 128, 0, 0),
                                       data=os.urandom(65536)))
            if number < 12:
                self.good(windows.exchange(bytes(6)))
        self.refused(windows.exchange(bytes(6)), 6, 0x38, 7)
        self.good(windows.exchange(bytes(6)))
        self.assertEqual(self.space(windows), (0, MIB))  # in sets of 1 MiB, used ones rounded up

    def test_out_of_space(self):
        windows = self.log_in()
        full = None
        for number in range(64):
            data = os.urandom(65536)
            cdb = struct.pack(">BBQIBB", 0x8A, 0, number * 128, 128, 0, 0)
            reply = windows.exchange(cdb, data=data)
            if reply.status:
                full = reply
                break
        self.assertIsNotNone(full, "4 MiB were written over a quota of 1 MiB")
        self.refused(full, 7, 0x27, 7)
        first = windows.exchange(struct.pack(">BBQIBB", 0x88, 0, 0, 128, 0, 0), 65536)
        self.good(first, 65536)
        # What is given back can be written again.
        data = unmap_list((0, 1024))
        self.good(windows.exchange(struct.pack(">BB5xHB", 0x42, 0, len(data), 0), data=data))
        self.good(windows.exchange(struct.pack(">BBQIBB", 0x8A, 0, 0, 128, 0, 0), data=os.urandom(65536)))


if __name__ == "__main__":
    unittest.main()
