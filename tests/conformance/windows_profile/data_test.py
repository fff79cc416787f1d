"""Windows' reads and writes: every form of CDB, R2Ts, unsolicited data, exact residuals, the cache."""

import os
import struct
import unittest

from harness import iscsi
from harness.exchange import OVERFLOW, UNDERFLOW
from windows import Case, MIB

BLOCKS = 8 * MIB // 512


def read_6(lba, count):
    return struct.pack(">I", 0x08 << 24 | lba) + bytes([count & 255, 0])


def read_10(lba, count, opcode=0x28, flags=0):
    return struct.pack(">BBIBHB", opcode, flags, lba, 0, count, 0)


def read_16(lba, count, opcode=0x88, flags=0):
    return struct.pack(">BBQIBB", opcode, flags, lba, count, 0, 0)


def write_10(lba, count, flags=0):
    return read_10(lba, count, 0x2A, flags)


def write_16(lba, count, flags=0):
    return read_16(lba, count, 0x8A, flags)


FUA = 0x08


class Data(Case):
    def setUp(self):
        super().setUp()
        self.windows = self.log_in()
        self.content = bytearray(self.image)

    def read(self, lba, count):
        reply = self.windows.exchange(read_10(lba, count), count * 512)
        self.assertEqual(reply.residual, ())
        return self.good(reply, count * 512)

    def write(self, cdb, lba, data, **options):
        reply = self.windows.exchange(cdb, data=data, **options)
        self.assertEqual(reply.residual, ())
        self.good(reply)
        self.content[lba * 512:lba * 512 + len(data)] = data
        return reply

    def check_disk(self):
        for at in range(0, BLOCKS, 2048):
            self.assertEqual(self.read(at, 2048), bytes(self.content[at * 512:(at + 2048) * 512]), f"block {at}")

    def test_reads_of_every_form(self):
        for name, cdb, lba, count in (
                ("READ(6)", read_6(1, 8), 1, 8), ("READ(6) of 256", read_6(0, 256), 0, 256),
                ("READ(10)", read_10(3, 5), 3, 5), ("READ(10) FUA", read_10(8, 8, flags=FUA), 8, 8),
                ("READ(16)", read_16(BLOCKS - 1, 1), BLOCKS - 1, 1), ("READ(10) of 1 MiB", read_10(7, 2048), 7, 2048),
                ("READ(16) of 8 MiB", read_16(0, BLOCKS), 0, BLOCKS)):
            with self.subTest(name):
                reply = self.windows.exchange(cdb, count * 512)
                data = self.good(reply, count * 512)
                self.assertEqual(data, self.image[lba * 512:(lba + count) * 512])
                self.assertEqual(reply.residual, ())

    def test_data_in_keeps_to_the_declared_segment_and_to_bursts(self):
        reply = self.windows.exchange(read_10(0, 2048), MIB)
        self.assertEqual([len(pdu.data) for pdu in reply.data_in], [65536] * 16)
        # 11.7.1: F ends each sequence of MaxBurstLength, S comes with the last alone.
        burst = int(self.windows.keys["MaxBurstLength"]) // 65536
        self.assertEqual([bool(pdu.flags & 0x80) for pdu in reply.data_in],
                         [number % burst == burst - 1 for number in range(16)])
        self.assertEqual([pdu.flags & 1 for pdu in reply.data_in], [0] * 15 + [1])

    def test_writes_of_every_form_are_read_back(self):
        for name, cdb, lba, size in (
                ("WRITE(6)", struct.pack(">I", 0x0A << 24 | 16) + bytes([2, 0]), 16, 1024),
                ("WRITE(10)", write_10(100, 8), 100, 4096), ("WRITE(10) FUA", write_10(300, 1, FUA), 300, 512),
                ("WRITE(10) of 64 KiB", write_10(1024, 128), 1024, 65536),
                ("WRITE(10) of 1 MiB", write_10(4096 + 5, 2048), 4096 + 5, MIB),
                ("WRITE(16)", write_16(BLOCKS - 3, 3, FUA), BLOCKS - 3, 1536)):
            with self.subTest(name):
                self.write(cdb, lba, os.urandom(size))
        self.check_disk()

    def test_r2ts_follow_the_first_burst(self):
        reply = self.write(write_10(2048, 2048), 2048, os.urandom(MIB))
        first = int(self.windows.keys["FirstBurstLength"])
        self.assertEqual(reply.r2ts[0].u32(40), first)
        self.assertEqual(sum(pdu.u32(44) for pdu in reply.r2ts), MIB - first)
        # As much as may be asked for at a time is asked for.
        burst = int(self.windows.keys["MaxBurstLength"])
        self.assertTrue(all(pdu.u32(44) == burst for pdu in reply.r2ts[:-1]))
        tags = [pdu.u32(20) for pdu in reply.r2ts]
        self.assertEqual(len(set(tags)), len(tags))

    def test_unsolicited_data_out_follows_immediate_data(self):
        for immediate in (0, 512, 8192):
            with self.subTest(immediate=immediate):
                small = self.write(write_10(0, 64), 0, os.urandom(32768), immediate=immediate)
                self.assertEqual(small.r2ts, [])
                self.write(write_10(512, 1024), 512, os.urandom(524288), immediate=immediate)
        self.check_disk()

    def test_no_more_r2ts_are_open_than_was_agreed(self):
        windows, data = self.windows, os.urandom(8 * MIB)
        command = windows.command_pdu(write_16(0, BLOCKS), 0, data, 0, data[:65536])
        windows.send(command)
        ping = iscsi.make_pdu(iscsi.NOP_OUT, 0x80, True, b"all R2Ts are here")
        ping.put32(16, windows.tag()).put32(20, iscsi.NO_TAG).put32(24, windows.cmd_sn).put32(28, windows.exp_stat_sn)
        windows.send(ping)
        asked = []
        while (pdu := windows.receive()).opcode != iscsi.NOP_IN or pdu.itt != ping.itt:
            self.assertEqual(pdu.opcode, iscsi.R2T)
            asked.append((pdu.u32(40), pdu.u32(44), pdu.u32(20)))
        self.assertTrue(1 <= len(asked) <= int(windows.keys["MaxOutstandingR2T"]), asked)
        at = 65536
        for offset, length, _ in asked:
            self.assertEqual(offset, at)
            at += length

    def test_residuals_are_exact(self):
        inquiry = len(self.good(self.windows.exchange(bytes([0x12, 0, 0, 0, 255, 0]), 255)))
        rows = (
            # what, CDB, ExpectedDataTransferLength, bytes that come, residual (RFC 7143 11.4.5)
            ("as much as expected", read_10(0, 8), 4096, 4096, ()),
            ("less than expected", read_10(0, 1), 4096, 512, (UNDERFLOW, 3584)),
            ("more than expected", read_10(0, 8), 512, 512, (OVERFLOW, 3584)),
            ("more, and not by whole blocks", read_10(0, 2), 700, 700, (OVERFLOW, 324)),
            ("no block at all", read_10(0, 0), 512, 0, (UNDERFLOW, 512)),
            ("INQUIRY with room", bytes([0x12, 0, 0, 0, 255, 0]), 255, inquiry, (UNDERFLOW, 255 - inquiry)),
            ("INQUIRY cut by its allocation length", bytes([0x12, 0, 0, 0, 5, 0]), 255, 5, (UNDERFLOW, 250)),
            ("INQUIRY of 36", bytes([0x12, 0, 0, 0, 36, 0]), 36, 36, ()),
            ("INQUIRY over what was expected", bytes([0x12, 0, 0, 0, 96, 0]), 36, 36, (OVERFLOW, min(96, inquiry) - 36)),
            ("INQUIRY of nothing", bytes([0x12, 0, 0, 0, 0, 0]), 0, 0, ()),
            ("READ CAPACITY(10)", bytes([0x25] + [0] * 9), 8, 8, ()),
            ("READ CAPACITY(10) with room", bytes([0x25] + [0] * 9), 64, 8, (UNDERFLOW, 56)),
            ("READ CAPACITY(16) of 12", bytes([0x9E, 0x10] + [0] * 8 + [0, 0, 0, 12, 0, 0]), 32, 12, (UNDERFLOW, 20)),
            ("TEST UNIT READY", bytes(6), 0, 0, ()),
            ("TEST UNIT READY that expects data", bytes(6), 18, 0, (UNDERFLOW, 18)),
            ("MODE SENSE(6) of its header", bytes([0x1A, 0, 0x3F, 0, 4, 0]), 4, 4, ()),
            ("MODE SENSE(6) of a page with room", bytes([0x1A, 8, 0x08, 0, 192, 0]), 192, 24, (UNDERFLOW, 168)),
        )
        for what, cdb, expected, length, residual in rows:
            with self.subTest(what):
                reply = self.windows.exchange(cdb, expected)
                self.good(reply, length)
                self.assertEqual(reply.residual, residual)

    def test_residuals_of_errors_are_all_that_was_expected(self):
        for what, cdb, condition in (
                ("beyond the end", read_10(BLOCKS, 1), (5, 0x21, 0)),
                ("over the end", read_10(BLOCKS - 1, 2), (5, 0x21, 0)),
                ("far beyond", read_16(1 << 40, 1), (5, 0x21, 0)),
                ("protection information", read_10(0, 1, flags=0x20), (5, 0x24, 0))):
            with self.subTest(what):
                reply = self.windows.exchange(cdb, 512)
                self.refused(reply, *condition)
                self.assertEqual((reply.data, reply.residual), (b"", (UNDERFLOW, 512)))

    def test_residuals_of_writes(self):
        block = os.urandom(512)
        reply = self.windows.exchange(write_10(50, 1), data=block + bytes(512))
        self.good(reply)
        self.assertEqual(reply.residual, (UNDERFLOW, 512))
        self.content[50 * 512:51 * 512] = block
        # Two blocks of which one is announced: the rest of the disk keeps what it had.
        reply = self.windows.exchange(write_10(60, 2), data=block, expected=512)
        self.assertEqual(reply.residual[:1], (OVERFLOW,))
        self.assertEqual(reply.residual, (OVERFLOW, 512))
        self.assertEqual(self.read(61, 1), self.image[61 * 512:62 * 512])
        self.assertIn(self.read(60, 1), (block, self.image[60 * 512:61 * 512]))
        for lba, count in ((BLOCKS, 1), (BLOCKS - 1, 2)):
            reply = self.windows.exchange(write_10(lba, count), data=bytes(512 * count))
            self.refused(reply, 5, 0x21, 0)
            self.assertEqual(reply.residual, (UNDERFLOW, 512 * count))
        self.assertEqual(self.read(BLOCKS - 1, 1), self.image[-512:])

    def test_verify(self):
        for what, cdb in (("VERIFY(10)", read_10(0, 128, 0x2F)), ("VERIFY(16)", read_16(0, 128, 0x8F)),
                          ("of the whole disk", read_10(0, BLOCKS, 0x2F)), ("of nothing", read_10(0, 0, 0x2F))):
            with self.subTest(what):
                reply = self.windows.exchange(cdb)
                self.good(reply)
                self.assertEqual(reply.residual, ())
        compare = read_10(8, 4, 0x2F, 0x02)  # BYTCHK 01b
        self.good(self.windows.exchange(compare, data=self.image[4096:6144]))
        wrong = bytearray(self.image[4096:6144])
        wrong[700] ^= 1
        reply = self.windows.exchange(compare, data=bytes(wrong))
        self.refused(reply, 0xE, 0x1D, 0)
        self.refused(self.windows.exchange(read_10(BLOCKS - 1, 2, 0x2F)), 5, 0x21, 0)

    def test_synchronize_cache(self):
        for what, cdb, condition in (
                ("(10) of all", read_10(0, 0, 0x35), ()), ("(16) of all", read_16(0, 0, 0x91), ()),
                ("(10) of a range", read_10(8, 64, 0x35), ()), ("(10), IMMED", read_10(0, 0, 0x35, 0x02), ()),
                ("(10) over the end", read_10(BLOCKS - 1, 2, 0x35), (5, 0x21, 0))):
            with self.subTest(what):
                reply = self.windows.exchange(cdb)
                self.assertEqual((reply.status, reply.condition), (2, condition) if condition else (0, ()))


class KeptData(Data):
    """The same on a disk whose flushes go to the device, and what was flushed is there after a power cut's kill."""

    policy = "keep"

    def test_flushed_and_forced_writes_survive(self):
        self.write(write_10(0, 8), 0, os.urandom(4096))
        self.good(self.windows.exchange(read_10(0, 0, 0x35)))
        self.write(write_16(4096, 128, FUA), 4096, os.urandom(65536))
        self.target.restart_after_kill()
        self.windows = self.log_in()
        self.check_disk()


if __name__ == "__main__":
    unittest.main()
