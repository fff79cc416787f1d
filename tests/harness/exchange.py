"""An initiator that believes nothing: every PDU it receives is checked against RFC 7143.

One command at a time, so that the numbers of each answer are known before it comes. What a broken
rule raises is an AssertionError that names the rule's section.
"""

import dataclasses
import struct

from harness import iscsi

# Bits of byte 1 that are reserved (RFC 7143 11.x); what is not listed sends 80h alone.
RESERVED_FLAGS = {iscsi.LOGIN_RESPONSE: 0x30, iscsi.DATA_IN: 0x38, iscsi.SCSI_RESPONSE: 0x61,
                  iscsi.TEXT_RESPONSE: 0x3F}
UNDERFLOW, OVERFLOW = "underflow", "overflow"


def require(condition, rule):
    if not condition:
        raise AssertionError(rule)


@dataclasses.dataclass
class Reply:
    """What came of one command."""
    status: int
    data: bytes
    sense: bytes
    residual: tuple       # (), (UNDERFLOW, bytes) or (OVERFLOW, bytes)
    data_in: list         # Data-In PDUs
    r2ts: list

    @property
    def condition(self):
        """(sense key, ASC, ASCQ) of a CHECK CONDITION in fixed format; () without sense."""
        if not self.sense:
            return ()
        require(self.sense[0] & 0x7F == 0x70, f"SPC-4 4.5.3: not fixed format: {self.sense.hex()}")
        require(self.sense[7] == len(self.sense) - 8, "SPC-4 4.5.3: ADDITIONAL SENSE LENGTH")
        return self.sense[2] & 0x0F, self.sense[12], self.sense[13]

    @property
    def field_pointer(self):
        """(in the CDB, byte) of an ILLEGAL REQUEST, or None (SPC-4 4.5.2.4.2)."""
        specific = self.sense[15:18]
        return (bool(specific[0] & 0x40), specific[1] << 8 | specific[2]) if specific[0] & 0x80 else None


class CheckedInitiator(iscsi.Initiator):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.numbered = False  # the target has told its StatSN

    def receive(self):
        expected = self.exp_stat_sn
        pdu = super().receive()
        what = f"opcode {pdu.opcode:#04x} {pdu.bhs.hex()}"
        require(not pdu.bhs[0] & 0xC0, f"11.2.1.1: bits 0 and 1 of byte 0: {what}")
        require(pdu.padding == bytes(len(pdu.padding)), f"11.1: padding is not zero: {what}")
        require(not pdu.ahs, f"11.2.1.4: AHS from a target: {what}")
        if pdu.opcode in RESERVED_FLAGS:
            require(not pdu.flags & RESERVED_FLAGS[pdu.opcode], f"reserved flags: {what}")
        else:
            require(pdu.flags == 0x80, f"byte 1 is not 80h: {what}")
        if self.numbered and (pdu.opcode != iscsi.DATA_IN or pdu.takes_stat_sn):
            require(pdu.u32(24) == expected, f"4.2.2.2: StatSN is not {expected}: {what}")
        self.numbered = True
        require(pdu.u32(28) == self.cmd_sn, f"4.2.2.1: ExpCmdSN is not {self.cmd_sn}: {what}")
        window = (pdu.u32(32) - pdu.u32(28) + 1) & 0xFFFFFFFF
        require(0 < window < 1 << 31, f"4.2.2.1: the window is closed while nothing runs: {what}")
        return pdu

    def is_closed(self):
        """As the plain initiator's: commands may have been under way, so the numbers are not checked."""
        try:
            while True:
                super().receive()
        except iscsi.Closed:
            return True

    def exchange(self, cdb, read=0, data=b"", lun=0, expected=None, immediate=None):
        """One command. `expected`: ExpectedDataTransferLength where it is not the data's length;
        `immediate`: at most so many bytes as immediate data, the first burst's rest follows unsolicited."""
        expected = (read or len(data)) if expected is None else expected
        first_burst = min(int(self.keys.get("FirstBurstLength", 65536)), len(data), expected)
        if self.keys.get("ImmediateData", "Yes") != "Yes":
            immediate = 0
        segment = int(self.keys.get("MaxRecvDataSegmentLength", 8192))
        now = min(first_burst, segment, first_burst if immediate is None else immediate)
        unsolicited = first_burst if self.keys.get("InitialR2T", "Yes") == "No" else now
        command = self.command_pdu(cdb, read, data, lun, data[:now])
        command.put32(20, expected)
        if expected and data:
            command.bhs[1] |= 0x20
        if unsolicited > now:
            command.bhs[1] &= 0x7F
        self.send(command)
        if unsolicited > now:
            self.send_part(command, data, now, unsolicited - now, iscsi.NO_TAG, segment)
        return self.collect(command, data, expected, unsolicited, segment)

    def send_part(self, command, data, offset, length, transfer_tag, segment):
        """Data-Out PDUs of one sequence (11.7)."""
        number, end = 0, offset + length
        while offset < end:
            part = min(segment, end - offset)
            pdu = iscsi.make_pdu(iscsi.DATA_OUT, 0x80 if offset + part == end else 0, False, data[offset:offset + part])
            pdu.bhs[8:16] = command.bhs[8:16]
            pdu.put32(16, command.itt).put32(20, transfer_tag).put32(28, self.exp_stat_sn)
            pdu.put32(36, number).put32(40, offset)
            self.send(pdu)
            number, offset = number + 1, offset + part

    def collect(self, command, data, expected, sent, segment):
        reply = Reply(0, b"", b"", (), [], [])
        while True:
            pdu = self.receive()
            if pdu.opcode == iscsi.NOP_IN and pdu.itt == iscsi.NO_TAG:
                if pdu.u32(20) != iscsi.NO_TAG:
                    self.on_ping(pdu)
                continue
            require(pdu.itt == command.itt, f"11.2.1.8: answer to another task: {pdu.bhs.hex()}")
            if pdu.opcode == iscsi.DATA_IN:
                self.take_data_in(reply, pdu, expected)
                if pdu.flags & 1:
                    require(pdu.bhs[3] == 0, "11.7.3: sense is not of a Data-In's status")
                    reply.residual = self.residual(pdu)
                    return reply
            elif pdu.opcode == iscsi.R2T:
                self.check_r2t(command, reply, pdu, sent, min(expected, len(data)))
                sent += pdu.u32(44)
                self.send_part(command, data, pdu.u32(40), pdu.u32(44), pdu.u32(20), segment)
            else:
                self.take_response(reply, pdu)
                return reply

    def on_ping(self, ping):
        self.answer_ping(ping)

    def take_data_in(self, reply, pdu, expected):
        declared = int(self.offered.get("MaxRecvDataSegmentLength", 8192))
        burst = int(self.keys.get("MaxBurstLength", 262144))
        require(len(pdu.data) <= declared, f"13.12: {len(pdu.data)} bytes, {declared} were declared")
        require(pdu.u32(36) == len(reply.data_in), f"11.7.5: DataSN {pdu.u32(36)}")
        require(pdu.u32(40) == len(reply.data), f"11.7.6: Buffer Offset {pdu.u32(40)} leaves a gap")
        require(pdu.u32(20) == iscsi.NO_TAG, "11.7.4: Target Transfer Tag without A bit")
        reply.data_in.append(pdu)
        reply.data += pdu.data
        require(len(reply.data) <= expected, "11.3.4: more data than was expected")
        last = max((index for index, each in enumerate(reply.data_in[:-1]) if each.flags & 0x80), default=-1)
        sequence = sum(len(each.data) for each in reply.data_in[last + 1:])
        require(sequence <= burst, f"13.13: a sequence of {sequence} bytes, MaxBurstLength is {burst}")
        require(not pdu.flags & 1 or pdu.flags & 0x80, "11.7.1: S without F")

    def check_r2t(self, command, reply, pdu, sent, length):
        burst = int(self.keys.get("MaxBurstLength", 262144))
        require(pdu.flags == 0x80, f"11.8: byte 1 of an R2T is {pdu.flags:#04x}")
        require(pdu.bhs[2:8] == bytes(6), f"11.8: bytes 2 to 7 of an R2T: {pdu.bhs.hex()}")
        require(pdu.bhs[8:16] == command.bhs[8:16], "11.8: LUN")
        require(pdu.u32(20) != iscsi.NO_TAG, "11.8.5: Target Transfer Tag is the reserved one")
        require(pdu.u32(36) == len(reply.r2ts), f"11.8.3: R2TSN {pdu.u32(36)}")
        require(pdu.u32(40) == sent, f"11.8.4: Buffer Offset {pdu.u32(40)}, {sent} bytes were sent")
        require(0 < pdu.u32(44) <= burst, f"11.8.4: Desired Data Transfer Length {pdu.u32(44)}")
        require(pdu.u32(40) + pdu.u32(44) <= length, "11.8.4: more than the command has")
        reply.r2ts.append(pdu)

    def take_response(self, reply, pdu):
        require(pdu.opcode == iscsi.SCSI_RESPONSE, f"unexpected PDU {pdu.bhs.hex()}")
        require(pdu.flags & 0x80, "11.4.1: a SCSI Response without F")
        require(pdu.bhs[2] == 0, f"11.4.3: response {pdu.bhs[2]:#04x}")
        require(pdu.bhs[8:16] == bytes(8), "11.4: bytes 8 to 15 are reserved")
        count = len(reply.data_in) + len(reply.r2ts)
        require(pdu.u32(36) == count, f"11.4.8: ExpDataSN {pdu.u32(36)}, {count} were sent")
        require(not pdu.flags & 0x18 and pdu.u32(40) == 0, "11.4.6: a bidirectional residual")
        reply.status = pdu.bhs[3]
        reply.residual = self.residual(pdu)
        if reply.status == 2:
            length = struct.unpack(">H", pdu.data[:2])[0]
            require(length == len(pdu.data) - 2, "11.4.7.1: SenseLength")
            reply.sense = pdu.data[2:]
        else:
            require(not pdu.data, f"11.4.7: data with status {reply.status:#04x}")

    @staticmethod
    def residual(pdu):
        """11.4.5: exactly one of O and U, and with neither a count of zero."""
        over, under, count = pdu.flags & 0x04, pdu.flags & 0x02, pdu.u32(44)
        require(not (over and under), "11.4.1: O and U together")
        require(bool(over or under) == (count > 0), f"11.4.5: residual count {count}, flags {pdu.flags:#04x}")
        return (OVERFLOW if over else UNDERFLOW, count) if count else ()

    # Login

    cid = 0
    offered = {}  # what this side declared and offered in the operational stage

    def login_exchange(self, csg, nsg, transit, keys):
        """One login request; returns the checked answer (11.13), whatever its status."""
        request = self.login_pdu(csg, nsg, transit, keys)
        request.bhs[20:22] = struct.pack(">H", self.cid)
        self.send(request)
        answer = self.receive()
        require(answer.opcode == iscsi.LOGIN_RESPONSE, f"opcode {answer.opcode:#x} is no login response")
        require(answer.bhs[2:4] == b"\0\0", "11.13.2: version")
        require(answer.bhs[8:14] == self.isid, "11.13: ISID is not the request's")
        require(answer.itt == request.itt, "11.13: Initiator Task Tag")
        self.keys.update(answer.text())
        if answer.bhs[36] != 0:
            return answer
        stage = answer.flags >> 2 & 3
        require(stage == csg, f"11.13.3: CSG {stage} answers {csg}")
        require(not answer.flags & 0x40, "11.13: the answer goes on")
        if answer.flags & 0x80:
            require(transit and answer.flags & 3 == nsg, f"11.13.3: a transit nobody asked for: {answer.flags:#04x}")
        tsih = struct.unpack(">H", answer.bhs[14:16])[0]
        if answer.flags & 0x83 == 0x83:
            require(tsih != 0, "11.13.4: TSIH of a new session")
            self.tsih = tsih
        else:
            require(tsih == self.tsih, f"11.13.4: TSIH {tsih} before the end of the login")
        return answer
