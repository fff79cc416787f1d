"""What Windows asks a new disk, command by command: identity, pages, capacity, modes, refusals."""

import unittest

from harness import fields, iscsi
from harness.exchange import UNDERFLOW
import pages
from windows import Case, MIB

MODE_SENSE_6, MODE_SENSE_10 = 0x1A, 0x5A
STOP, START = bytes([0x1B, 0, 0, 0, 0, 0]), bytes([0x1B, 0, 0, 0, 1, 0])
OF_UNIT, OF_PORT, OF_DEVICE = 0, 1, 2
T10_VENDOR, EUI_64, NAA, RELATIVE_PORT, PORT_GROUP, NAME_STRING = 1, 2, 3, 4, 5, 8
BINARY, ASCII, UTF_8 = 1, 2, 3
ISCSI = 5


def inquiry(page=None, length=255):
    return bytes([0x12, page is not None, page or 0, length >> 8, length & 255, 0])


def mode_sense(page, length=192, ten=False, control=0, no_descriptors=False, subpage=0):
    if ten:
        return bytes([MODE_SENSE_10, 8 * no_descriptors, control << 6 | page, subpage, 0, 0, 0,
                      length >> 8, length & 255, 0])
    return bytes([MODE_SENSE_6, 8 * no_descriptors, control << 6 | page, subpage, length, 0])


class Disk(Case):
    def setUp(self):
        super().setUp()
        self.windows = self.log_in()

    def ask(self, cdb, length=255, lun=0):
        return self.good(self.windows.exchange(cdb, length, lun=lun))

    def page(self, code):
        data = self.ask(inquiry(code, 4096), 4096)
        self.assertEqual((data[0], data[1], int.from_bytes(data[2:4], "big")), (0, code, len(data) - 4))
        return data

    def matches(self, data, table, **values):
        self.assertEqual(fields.problems(data, table, **values), [])

    # Identity

    def test_standard_inquiry(self):
        # The port driver asks for 36 bytes; whoever asks for more gets the version descriptors.
        self.matches(self.ask(inquiry(length=36), 36), pages.STANDARD_INQUIRY)
        whole = self.ask(inquiry())
        self.matches(whole, pages.STANDARD_INQUIRY + pages.STANDARD_INQUIRY_REST, **{"ADDITIONAL LENGTH": len(whole) - 5})
        descriptors = {int.from_bytes(whole[at:at + 2], "big") for at in range(58, 74, 2)}
        self.assertIn(0x0960, descriptors)  # iSCSI
        if whole[5] & 0x08:  # 3PC
            self.assertIn(0x8F, self.page(0x00)[4:])

    def test_pages_are_listed_in_order_and_each_listed_page_is_there(self):
        listed = list(self.page(0x00)[4:])
        self.assertEqual(listed, sorted(set(listed)))
        self.assertLessEqual({0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2}, set(listed))
        for code in range(256):
            with self.subTest(page=f"{code:#04x}"):
                if code in listed:
                    self.page(code)
                else:
                    reply = self.windows.exchange(inquiry(code), 255)
                    self.refused(reply, 5, 0x24, 0)
                    self.assertEqual(reply.field_pointer, (True, 2))

    def test_page_code_without_evpd_is_refused(self):
        self.refused(self.windows.exchange(bytes([0x12, 0, 0x83, 0, 255, 0]), 255), 5, 0x24, 0)

    def test_serial_number(self):
        serial = self.page(0x80)[4:]
        self.assertRegex(serial, rb"^[!-~]+$")
        again = self.log_in().exchange(inquiry(0x80), 255).data[4:]
        self.assertEqual(again, serial)
        other = self.log_in(self.target.put_link("pc-002", self.version)).exchange(inquiry(0x80), 255).data[4:]
        self.assertNotEqual(other, serial)

    def test_device_identification(self):
        vendor = self.ask(inquiry(length=36), 36)[8:16]
        found = pages.designators(self.page(0x83))
        # Setup ends in 0xF4 where none of these is of the unit.
        unique = [each for each in found if each[0] == OF_UNIT and each[1] in (EUI_64, NAA)]
        self.assertTrue(unique, found)
        for association, kind, code_set, protocol, value in found:
            with self.subTest(association=association, type=kind, value=value.hex()):
                self.assertIn(association, (OF_UNIT, OF_PORT, OF_DEVICE))
                # 7.8.6.1: PIV and the protocol are of ports and devices.
                self.assertEqual(protocol, None if association == OF_UNIT else ISCSI)
                if kind == NAA:
                    self.assertEqual(code_set, BINARY)
                    self.assertEqual(len(value), {2: 8, 3: 8, 5: 8, 6: 16}[value[0] >> 4])
                elif kind == EUI_64:
                    self.assertEqual(code_set, BINARY)
                    self.assertIn(len(value), (8, 12, 16))
                elif kind == T10_VENDOR:
                    self.assertIn(code_set, (ASCII, UTF_8))
                    self.assertEqual(value[:8], vendor)
                elif kind in (RELATIVE_PORT, PORT_GROUP):
                    self.assertEqual((association, code_set, len(value), value[:2]), (OF_PORT, BINARY, 4, b"\0\0"))
                    self.assertGreater(value[3], 0)
                elif kind == NAME_STRING:
                    self.assertEqual((code_set, len(value) % 4, value[-1:]), (UTF_8, 0, b"\0"))
                    if association != OF_UNIT:
                        self.assertTrue(value.startswith(self.link["iqn"].encode()), value)
        # Two disks are never one to MPIO.
        other = self.log_in(self.target.put_link("pc-002", self.version)).exchange(inquiry(0x83), 255).data
        others = [each for each in pages.designators(other) if each[0] == OF_UNIT]
        self.assertFalse({each[4] for each in unique} & {each[4] for each in others})

    def test_pages_of_the_disk_class(self):
        for code, table in ((0x86, pages.EXTENDED_INQUIRY), (0xB0, pages.BLOCK_LIMITS),
                            (0xB1, pages.BLOCK_DEVICE_CHARACTERISTICS), (0xB2, pages.LOGICAL_BLOCK_PROVISIONING)):
            with self.subTest(page=f"{code:#04x}"):
                self.matches(self.page(code), table)

    def test_third_party_copy_page_has_the_limits_of_windows_odx(self):
        self.assertTrue(self.ask(inquiry(length=36), 36)[5] & 0x08, "3PC")
        data, at, kinds = self.page(0x8F), 4, {}
        while at < len(data):  # SPC-4 7.8.17
            kind, length = int.from_bytes(data[at:at + 2], "big"), int.from_bytes(data[at + 2:at + 4], "big")
            self.assertEqual((length % 4, at + 4 + length <= len(data)), (0, True))
            kinds[kind] = data[at + 4:at + 4 + length]
            at += 4 + length
        self.assertEqual(list(kinds), sorted(kinds))
        limits = kinds[0x0000]  # SBC-3 6.6.6.2, block device ROD token limits
        self.assertEqual(len(limits), 0x20)
        ranges, timeouts, transfer = limits[6:8], limits[8:16], int.from_bytes(limits[16:24], "big")
        self.assertTrue(any(ranges) and any(timeouts) and transfer > 0, limits.hex())

    # Units

    def test_report_luns(self):
        data = self.ask(bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0]), 4096)
        self.assertEqual(data.hex(), "00000008" + "00000000" + "0000000000000000")
        short = self.windows.exchange(bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]), 8)
        self.refused(short, 5, 0x24, 0)  # SPC-4 6.33: at least 16

    def test_a_lun_that_is_not_there(self):
        data = self.ask(inquiry(length=36), 36, lun=1)
        self.assertEqual(data[0], 0x7F)
        self.refused(self.windows.exchange(bytes(6), lun=1), 5, 0x25, 0)
        self.refused(self.windows.exchange(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 512, lun=1), 5, 0x25, 0)

    def test_capacity(self):
        blocks = 8 * MIB // 512
        self.assertEqual(self.ask(bytes([0x25] + [0] * 9), 8).hex(), f"{blocks - 1:08x}00000200")
        data = self.ask(bytes([0x9E, 0x10] + [0] * 8 + [0, 0, 0, 32, 0, 0]), 32)
        self.matches(data, pages.READ_CAPACITY_16, **{"RETURNED LOGICAL BLOCK ADDRESS": blocks - 1})

    def test_units_are_ready_and_nothing_has_to_be_started(self):
        for cdb in (bytes(6), START, bytes(6), bytes([0x1E, 0, 0, 0, 1, 0]), bytes([0x1E, 0, 0, 0, 0, 0])):
            with self.subTest(cdb.hex()):
                self.good(self.windows.exchange(cdb))

    def test_a_disk_that_was_put_to_sleep_wakes_by_a_start(self):
        self.good(self.windows.exchange(STOP))
        self.refused(self.windows.exchange(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 512), 2, 0x04, 2)
        self.good(self.windows.exchange(START))
        self.good(self.windows.exchange(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 512), 512)

    def test_a_disk_that_was_stopped_at_shutdown_is_there_for_the_next_login(self):
        """iPXE reads at once and sends no START."""
        self.good(self.windows.exchange(STOP))
        firmware = self.log_in(name="iqn.2010-04.org.ipxe:pc-001")
        self.good(firmware.exchange(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 512), 512)

    # Modes

    def split(self, data, ten, descriptors):
        """Checks header and block descriptor (SPC-4 7.5.5, SBC-3 6.5.2) and returns the pages."""
        header = 8 if ten else 4
        length = int.from_bytes(data[:2], "big") + 2 if ten else data[0] + 1
        self.assertEqual(length, len(data))
        self.assertEqual(data[2 if ten else 1], 0)           # MEDIUM TYPE
        self.assertEqual(data[3 if ten else 2] & 0xEF, 0)    # WP and what is reserved
        self.assertTrue(data[3 if ten else 2] & 0x10)        # DPOFUA: Windows' FUA writes
        described = int.from_bytes(data[6:8], "big") if ten else data[3]
        self.assertEqual(described, 8 if descriptors else 0)
        if ten:
            self.assertEqual(data[4:6], b"\0\0")             # LONGLBA is only with LLBAA
        if descriptors:
            self.assertEqual(data[header:header + 8].hex(), f"{8 * MIB // 512:08x}00000200")
        return pages.split_mode_pages(data[header + described:])

    def test_mode_pages(self):
        for ten in (False, True):
            for bare in (False, True):
                for code, table in pages.MODE_PAGES.items():
                    with self.subTest(ten=ten, without_descriptors=bare, page=f"{code:#04x}"):
                        data = self.ask(mode_sense(code, ten=ten, no_descriptors=bare), 192)
                        found = self.split(data, ten, not bare)
                        self.assertEqual(list(found), [code])
                        self.matches(found[code], table)

    def test_all_mode_pages(self):
        for ten in (False, True):
            for subpage in (0, 0xFF):
                with self.subTest(ten=ten, subpage=subpage):
                    found = self.split(self.ask(mode_sense(0x3F, ten=ten, subpage=subpage), 192), ten, True)
                    self.assertLessEqual({0x08, 0x0A, 0x1C}, set(found))
                    self.assertEqual(list(found), sorted(found))  # SPC-4 6.11.1: ascending
                    for code, table in pages.MODE_PAGES.items():
                        self.matches(found[code], table)

    def test_what_can_be_changed_is_a_mask_and_defaults_are_what_a_new_disk_has(self):
        for code in pages.MODE_PAGES:
            with self.subTest(page=f"{code:#04x}"):
                current, changeable, default = (
                    self.split(self.ask(mode_sense(code, control=control), 192), False, True)[code]
                    for control in (0, 1, 2))
                self.assertEqual(current, default)
                self.assertEqual(changeable[:2], current[:2])
                self.refused(self.windows.exchange(mode_sense(code, control=3), 192), 5, 0x39, 0)
        caching = self.split(self.ask(mode_sense(8, control=1), 192), False, True)[8]
        self.assertTrue(caching[2] & 0x04)  # "Enable write caching on the device" of its dialogue

    def test_write_caching_is_switched_off_and_on(self):
        other = self.log_in(name="iqn.1991-05.com.microsoft:other")
        data = bytearray(self.ask(mode_sense(8), 192))
        for enabled in (False, True):
            data[0] = 0
            data[2] = 0  # reserved in MODE SELECT
            data[14] = data[14] & ~4 | 4 * enabled
            self.good(self.windows.exchange(bytes([0x15, 0x10, 0, 0, len(data), 0]), data=bytes(data)))
            self.assertEqual(bool(self.ask(mode_sense(8), 192)[14] & 4), enabled)
            self.refused(other.exchange(bytes(6)), 6, 0x2A, 1)  # MODE PARAMETERS CHANGED

    def test_a_bad_mode_page_is_refused(self):
        for ten in (False, True):
            for code in (0x02, 0x10, 0x2F, 0x3E):
                with self.subTest(ten=ten, page=f"{code:#04x}"):
                    reply = self.windows.exchange(mode_sense(code, ten=ten), 192)
                    self.refused(reply, 5, 0x24, 0)
                    self.assertEqual(reply.field_pointer, (True, 2))
                    self.assertEqual(reply.residual, (UNDERFLOW, 192))

    # What Windows tries and a disk of this kind has not

    def test_unknown_opcodes(self):
        rows = (
            ("ATA PASS-THROUGH (16), for S.M.A.R.T.", "85082e00000000000000000000000000ec00"[:32], 512),
            ("ATA PASS-THROUGH (12)", "a1082e00000000000000ec00", 512),
            ("vendor specific", "c00000000000", 0),
            ("vendor specific", "ff" + "00" * 15, 36),
            ("reserved", "1f" + "00" * 5, 0),
        )
        for name, cdb, length in rows:
            with self.subTest(name):
                reply = self.windows.exchange(bytes.fromhex(cdb), length)
                self.refused(reply, 5, 0x20, 0)
                self.assertEqual(reply.residual, (UNDERFLOW, length) if length else ())

    def test_the_list_of_grown_defects_is_empty(self):
        """READ DEFECT DATA (10), of GLIST in physical sector format: SBC-3 5.11."""
        self.assertEqual(self.ask(bytes.fromhex("37000d00000000000400"), 4).hex(), "000d0000")

    def test_an_unknown_service_action_of_a_known_opcode_is_a_bad_field(self):
        self.refused(self.windows.exchange(bytes([0x9E, 0x1E] + [0] * 8 + [0, 0, 0, 32, 0, 0]), 32), 5, 0x24, 0)

    def test_log_sense_names_the_provisioning_page(self):
        data = self.ask(bytes([0x4D, 0, 0x40, 0, 0, 0, 0, 0, 255, 0]))
        self.assertEqual((data[0], data[1], int.from_bytes(data[2:4], "big")), (0, 0, len(data) - 4))
        listed = list(data[4:])
        self.assertEqual(listed, sorted(listed))
        self.assertIn(0x0C, listed)
        for code in listed:
            with self.subTest(page=f"{code:#04x}"):
                log = self.ask(bytes([0x4D, 0, 0x40 | code, 0, 0, 0, 0, 2, 0, 0]), 512)
                self.assertEqual((log[0] & 0x3F, log[1]), (code, 0))
                self.assertEqual(int.from_bytes(log[2:4], "big"), len(log) - 4)
        self.refused(self.windows.exchange(bytes([0x4D, 0, 0x40 | 0x3E, 0, 0, 0, 0, 0, 255, 0]), 255), 5, 0x24, 0)

    def test_listed_commands_have_the_lengths_windows_sends(self):
        data = self.ask(bytes([0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0]), 4096)
        self.assertEqual(int.from_bytes(data[:4], "big"), len(data) - 4)
        known = {data[at]: int.from_bytes(data[at + 6:at + 8], "big") for at in range(4, len(data), 8)}
        for opcode, length in ((0x00, 6), (0x03, 6), (0x12, 6), (0x15, 6), (0x16, 6), (0x17, 6), (0x1A, 6), (0x1B, 6),
                               (0x25, 10), (0x28, 10), (0x2A, 10), (0x2F, 10), (0x35, 10), (0x42, 10), (0x55, 10),
                               (0x5A, 10), (0x5E, 10), (0x5F, 10), (0x88, 16), (0x8A, 16), (0x8F, 16), (0x91, 16),
                               (0x9E, 16), (0xA0, 12)):
            with self.subTest(f"{opcode:#04x}"):
                self.assertEqual(known.get(opcode), length)

    def test_sense_is_given_with_the_status_and_once(self):
        self.refused(self.windows.exchange(b"\xc0" + bytes(5)), 5, 0x20, 0)
        data = self.ask(bytes([0x03, 0, 0, 0, 252, 0]), 252)
        self.assertEqual((data[0], data[2] & 15, data[12], data[13]), (0x70, 0, 0, 0))

    def test_nop_out_is_echoed(self):
        self.windows.ping(b"payload of five and a half words"[:21])


if __name__ == "__main__":
    unittest.main()
