"""Reservations as Windows uses them: RESERVE(6) of old clusters, persistent ones of failover clusters.

Two nodes and an outsider log in to one disk. Actions and types are SPC-3's; a row of a scenario is who
does what and what comes of it.
"""

import struct
import unittest

from windows import Case

RESERVE_6, RELEASE_6 = bytes([0x16, 0, 0, 0, 0, 0]), bytes([0x17, 0, 0, 0, 0, 0])
READ_1 = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 1, 0)
WRITE_1 = struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 1, 0)
GOOD, CHECK, CONFLICT = 0x00, 0x02, 0x18

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, REGISTER_IGNORE, MOVE = range(8)
READ_KEYS, READ_RESERVATION, CAPABILITIES, FULL_STATUS = range(4)
TYPES = {  # SPC-3 table 109: who may still do what: (outsider reads, outsider writes, registrant writes)
    1: ("Write Exclusive", True, False, False),
    3: ("Exclusive Access", False, False, False),
    5: ("Write Exclusive, Registrants Only", True, False, True),
    6: ("Exclusive Access, Registrants Only", False, False, True),
    7: ("Write Exclusive, All Registrants", True, False, True),
    8: ("Exclusive Access, All Registrants", False, False, True),
}
WRITE_EXCLUSIVE_REGISTRANTS = 5  # of Windows' clusters
KEY_A, KEY_B = 0x6E6F64652D410001, 0x6E6F64652D420001


class Reservations(Case):
    def setUp(self):
        super().setUp()
        self.a, self.b, self.outsider = (
            self.log_in(name=f"iqn.1991-05.com.microsoft:{name}") for name in ("node-a", "node-b", "outsider"))

    # Commands

    def out(self, node, action, key=0, new_key=0, kind=0, flags=0):
        data = struct.pack(">QQ4xBxxx", key, new_key, flags)
        cdb = struct.pack(">BBBxxIB", 0x5F, action, kind, len(data), 0)
        return node.exchange(cdb, data=data)

    def ok(self, *arguments, **options):
        self.good(self.out(*arguments, **options))

    def conflicts(self, *arguments, **options):
        reply = self.out(*arguments, **options)
        self.assertEqual((reply.status, reply.sense), (CONFLICT, b""))

    def ask(self, action, length=1024):
        """Asked by the outsider, whom no attention concerns."""
        cdb = struct.pack(">BB5xHB", 0x5E, action, length, 0)
        return self.good(self.outsider.exchange(cdb, length))

    def keys(self):
        """(generation, keys); SPC-3 6.11.2."""
        data = self.ask(READ_KEYS)
        generation, length = struct.unpack(">II", data[:8])
        self.assertEqual(length, len(data) - 8)
        return generation, list(struct.unpack(f">{length // 8}Q", data[8:]))

    def reservation(self):
        """(key, type) or None; SPC-3 6.11.3."""
        data = self.ask(READ_RESERVATION)
        length = int.from_bytes(data[4:8], "big")
        self.assertEqual(length, len(data) - 8)
        if length == 0:
            return None
        self.assertEqual(length, 16)
        key, scope_address, reserved, scope_type, extent = struct.unpack(">QIBBH", data[8:])
        self.assertEqual((scope_address, reserved, scope_type >> 4, extent), (0, 0, 0, 0))
        return key, scope_type & 15

    def may(self, node):
        """What works for a node now: (reads, writes)."""
        read, write = node.exchange(READ_1, 512), node.exchange(WRITE_1, data=self.image[:512])
        for reply in (read, write):
            self.assertIn(reply.status, (GOOD, CONFLICT))
        return read.status == GOOD, write.status == GOOD

    def told(self, node, asc, ascq):
        self.refused(node.exchange(bytes(6)), 6, asc, ascq)
        self.good(node.exchange(bytes(6)))

    # RESERVE(6) and RELEASE(6): SPC-2 7.21, 7.16

    def test_the_old_reservation(self):
        self.good(self.a.exchange(RESERVE_6))
        self.good(self.a.exchange(RESERVE_6))  # again is no error
        self.assertEqual(self.b.exchange(RESERVE_6).status, CONFLICT)
        self.assertEqual((self.may(self.a), self.may(self.b)), ((True, True), (False, False)))
        for cdb, length in ((bytes([0x12, 0, 0, 0, 36, 0]), 36), (bytes([0xA0] + [0] * 8 + [16, 0, 0]), 16),
                            (bytes([0x03, 0, 0, 0, 18, 0]), 18)):
            self.good(self.b.exchange(cdb, length))  # allowed under any reservation
        self.good(self.b.exchange(RELEASE_6))  # of what another holds: no error, no effect
        self.assertEqual(self.may(self.b), (False, False))
        self.good(self.a.exchange(RELEASE_6))
        self.assertEqual(self.may(self.b), (True, True))

    def test_the_old_reservation_ends_with_its_session(self):
        self.good(self.a.exchange(RESERVE_6))
        self.a.logout()
        self.good(self.b.exchange(RESERVE_6))

    def test_old_and_persistent_do_not_mix(self):
        self.ok(self.a, REGISTER, new_key=KEY_A)
        self.assertEqual(self.b.exchange(RESERVE_6).status, CONFLICT)  # SPC-4 5.12.3
        self.ok(self.a, REGISTER, KEY_A, 0)
        self.good(self.b.exchange(RESERVE_6))
        self.conflicts(self.a, REGISTER, new_key=KEY_A)

    # Persistent

    def test_registering(self):
        start, keys = self.keys()
        self.assertEqual(keys, [])
        self.ok(self.a, REGISTER, 0, KEY_A)
        self.conflicts(self.a, REGISTER, KEY_B, KEY_A)       # not the key it has
        self.ok(self.b, REGISTER_IGNORE, 0xDEAD, KEY_B)      # whatever key it says it has
        self.conflicts(self.outsider, REGISTER, KEY_A, KEY_A)  # it has none
        generation, keys = self.keys()
        self.assertEqual((generation, sorted(keys)), (start + 2, [KEY_A, KEY_B]))
        self.ok(self.a, REGISTER, KEY_A, KEY_A + 1)
        self.ok(self.b, REGISTER_IGNORE, 0, 0)
        self.assertEqual(self.keys(), (start + 4, [KEY_A + 1]))

    def test_every_type_keeps_out_whom_it_should(self):
        self.ok(self.a, REGISTER, 0, KEY_A)
        self.ok(self.b, REGISTER, 0, KEY_B)
        for kind, (name, outsider_reads, outsider_writes, registrant_writes) in TYPES.items():
            with self.subTest(name):
                self.ok(self.a, RESERVE, KEY_A, kind=kind)
                self.ok(self.a, RESERVE, KEY_A, kind=kind)  # the holder's own again
                holder = 0 if kind in (7, 8) else KEY_A
                self.assertEqual(self.reservation(), (holder, kind))
                self.assertEqual(self.may(self.a), (True, True))
                self.assertEqual(self.may(self.b), (outsider_reads or registrant_writes, registrant_writes))
                self.assertEqual(self.may(self.outsider), (outsider_reads, outsider_writes))
                self.conflicts(self.outsider, RESERVE, 0, kind=kind)
                self.conflicts(self.a, RESERVE, KEY_A, kind=1 if kind != 1 else 3)
                wrong = self.out(self.a, RELEASE, KEY_A, kind=1 if kind != 1 else 3)
                self.refused(wrong, 5, 0x26, 4)
                self.ok(self.a, RELEASE, KEY_A, kind=kind)
                self.assertIsNone(self.reservation())
                if kind >= 5:
                    self.told(self.b, 0x2A, 4)  # RESERVATIONS RELEASED
                self.assertEqual(self.may(self.outsider), (True, True))

    def test_a_cluster_fails_over(self):
        """Node B takes the disk of node A, which must notice before it writes."""
        for node, key in ((self.a, KEY_A), (self.b, KEY_B)):
            self.ok(node, REGISTER_IGNORE, 0, key)
        self.ok(self.a, RESERVE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS)
        generation, _ = self.keys()
        self.ok(self.b, PREEMPT, KEY_B, KEY_A, WRITE_EXCLUSIVE_REGISTRANTS)
        self.assertEqual(self.reservation(), (KEY_B, WRITE_EXCLUSIVE_REGISTRANTS))
        self.refused(self.a.exchange(WRITE_1, data=bytes(512)), 6, 0x2A, 5)  # REGISTRATIONS PREEMPTED
        self.assertEqual(self.a.exchange(WRITE_1, data=bytes(512)).status, CONFLICT)
        self.assertEqual(self.keys(), (generation + 1, [KEY_B]))
        self.assertEqual(self.may(self.b), (True, True))
        block = self.b.exchange(READ_1, 512).data
        self.assertEqual(block, self.image[:512])  # nothing of A's writes

    def test_preempt_and_abort(self):
        for node, key in ((self.a, KEY_A), (self.b, KEY_B)):
            self.ok(node, REGISTER, 0, key)
        self.ok(self.a, RESERVE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS)
        # A's write is under way: its data is still asked for.
        command = self.a.command_pdu(struct.pack(">BBIBHB", 0x2A, 0, 8, 0, 2048, 0), data=bytes(1 << 20),
                                     immediate_data=bytes(65536))
        self.a.send(command)
        self.assertEqual(self.a.receive().opcode, 0x31)  # an R2T
        self.ok(self.b, PREEMPT_ABORT, KEY_B, KEY_A, WRITE_EXCLUSIVE_REGISTRANTS)
        self.assertEqual(self.reservation(), (KEY_B, WRITE_EXCLUSIVE_REGISTRANTS))
        read = self.b.exchange(struct.pack(">BBIBHB", 0x28, 0, 8, 0, 2048, 0), 1 << 20)
        self.assertEqual(self.good(read), self.image[4096:4096 + (1 << 20)])

    def test_preempting_who_holds_nothing_takes_its_registration_alone(self):
        for node, key in ((self.a, KEY_A), (self.b, KEY_B)):
            self.ok(node, REGISTER, 0, key)
        self.ok(self.a, RESERVE, KEY_A, kind=1)
        self.ok(self.a, PREEMPT, KEY_A, KEY_B, 1)
        self.assertEqual((self.reservation(), self.keys()[1]), ((KEY_A, 1), [KEY_A]))
        self.told(self.b, 0x2A, 5)
        self.conflicts(self.a, PREEMPT, KEY_A, 0x1234, 1)  # nobody has that key

    def test_clear_takes_all(self):
        for node, key in ((self.a, KEY_A), (self.b, KEY_B)):
            self.ok(node, REGISTER, 0, key)
        self.ok(self.a, RESERVE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS)
        self.conflicts(self.outsider, CLEAR, KEY_A)
        self.ok(self.b, CLEAR, KEY_B)
        self.assertEqual((self.reservation(), self.keys()[1]), (None, []))
        self.told(self.a, 0x2A, 3)  # RESERVATIONS PREEMPTED
        self.assertEqual(self.may(self.outsider), (True, True))

    def test_a_holder_that_unregisters_releases(self):
        for node, key in ((self.a, KEY_A), (self.b, KEY_B)):
            self.ok(node, REGISTER, 0, key)
        self.ok(self.a, RESERVE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS)
        self.ok(self.a, REGISTER, KEY_A, 0)
        self.assertIsNone(self.reservation())
        self.told(self.b, 0x2A, 4)

    def test_register_and_move(self):
        self.ok(self.a, REGISTER, 0, KEY_A)
        self.ok(self.a, RESERVE, KEY_A, kind=1)
        port = f"{self.b.name},i,0x{self.b.isid.hex()}".encode() + b"\0"
        port += bytes(-len(port) % 4)
        transport_id = struct.pack(">BxH", 0x45, len(port)) + port  # SPC-3 7.5.4.6, format 01b
        data = struct.pack(">QQxBHI", KEY_A, KEY_B, 0, 1, len(transport_id)) + transport_id
        self.good(self.a.exchange(struct.pack(">BBBxxIB", 0x5F, MOVE, 1, len(data), 0), data=data))
        self.assertEqual(self.reservation(), (KEY_B, 1))
        self.assertEqual((self.may(self.a), self.may(self.b)), ((True, False), (True, True)))

    def test_a_registration_outlives_its_session(self):
        # The I_T nexus is name, ISID and portal group: Windows' node that comes back is the same (SPC-4 5.12.4).
        self.ok(self.a, REGISTER, 0, KEY_A)
        self.ok(self.a, RESERVE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS)
        self.a.close()
        self.assertEqual(self.may(self.outsider), (True, False))
        self.a = self.log_in(name=self.a.name)
        self.assertEqual(self.reservation(), (KEY_A, WRITE_EXCLUSIVE_REGISTRANTS))
        self.assertEqual(self.may(self.a), (True, True))
        self.ok(self.a, RELEASE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS)

    def test_what_is_reported_is_what_is_done(self):
        data = self.ask(CAPABILITIES)
        self.assertEqual((len(data), int.from_bytes(data[:2], "big")), (8, 8))
        self.assertTrue(data[3] & 0x80, "TMV")
        mask = int.from_bytes(data[4:6], "big")
        self.assertEqual(mask, 0xEA01)  # every type of the table above
        self.ok(self.a, REGISTER, 0, KEY_A)
        for kind in (0, 2, 4, 9, 0x11):
            self.refused(self.out(self.a, RESERVE, KEY_A, kind=kind), 5, 0x24, 0)
        persists = self.out(self.a, REGISTER, KEY_A, KEY_A, flags=0x01)  # APTPL
        if data[2] & 0x01:  # PTPL_C
            self.good(persists)
        else:
            self.refused(persists, 5, 0x26, 0)

    def test_full_status_names_the_ports(self):
        for node, key in ((self.a, KEY_A), (self.b, KEY_B)):
            self.ok(node, REGISTER, 0, key)
        self.ok(self.a, RESERVE, KEY_A, kind=WRITE_EXCLUSIVE_REGISTRANTS)
        data, at, found = self.ask(FULL_STATUS), 8, {}
        self.assertEqual(int.from_bytes(data[4:8], "big"), len(data) - 8)
        while at < len(data):  # SPC-4 6.15.5
            key, flags, kind, port, length = struct.unpack(">Q4xBB4xHI", data[at:at + 24])
            identifier = data[at + 24:at + 24 + length]
            self.assertEqual((identifier[0], int.from_bytes(identifier[2:4], "big")), (0x45, length - 4))
            found[key] = (flags & 1, kind & 15 if flags & 1 else None, port, identifier[4:].rstrip(b"\0").decode())
            at += 24 + length
        name = "{0.name},i,0x{1}".format
        self.assertEqual({key: (*value[:3], value[3].lower()) for key, value in found.items()}, {
            KEY_A: (1, WRITE_EXCLUSIVE_REGISTRANTS, 1, name(self.a, self.a.isid.hex())),
            KEY_B: (0, None, 1, name(self.b, self.b.isid.hex()))})

    def test_malformed_parameter_lists(self):
        cdb = struct.pack(">BBBxxIB", 0x5F, REGISTER, 0, 20, 0)
        self.refused(self.a.exchange(cdb, data=bytes(20)), 5, 0x1A, 0)
        self.refused(self.a.exchange(bytes([0x5E, 0x1F, 0, 0, 0, 0, 0, 0, 255, 0]), 255), 5, 0x24, 0)


if __name__ == "__main__":
    unittest.main()
