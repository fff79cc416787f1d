"""An iSCSI initiator that shows every byte: for tests of what well-behaved initiators never do.

RFC 7143 in the smallest form that reads and writes: one connection, no digests, CmdSN and StatSN
kept, immediate data and R2T. Every receive has a deadline. Names are the RFC's.
"""

import hashlib
import os
import socket
import struct

ISID = bytes.fromhex("80deadbeef01")

NOP_OUT, SCSI_COMMAND, TASK_MANAGEMENT, LOGIN, TEXT, DATA_OUT, LOGOUT = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
NOP_IN, SCSI_RESPONSE, TASK_MANAGEMENT_RESPONSE, LOGIN_RESPONSE, TEXT_RESPONSE, DATA_IN, LOGOUT_RESPONSE = (
    0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26)
R2T, ASYNC, REJECT = 0x31, 0x32, 0x3F
NO_TAG = 0xFFFFFFFF


class Closed(Exception):
    """The target closed the connection."""


class LoginFailed(Exception):
    def __init__(self, status):
        super().__init__(f"login status {status:#06x}")
        self.status = status


class CheckCondition(Exception):
    def __init__(self, status, sense):
        super().__init__(f"status {status:#04x}, sense {sense.hex()}")
        self.status, self.sense = status, sense
        self.key = sense[2] & 15 if len(sense) > 13 else None
        self.asc = (sense[12], sense[13]) if len(sense) > 13 else None


class Pdu:
    def __init__(self, bhs, data=b"", ahs=b""):
        self.bhs, self.data, self.ahs = bytearray(bhs), bytes(data), bytes(ahs)
        self.padding = b""  # of a received one

    @property
    def opcode(self):
        return self.bhs[0] & 0x3F

    @property
    def flags(self):
        return self.bhs[1]

    @property
    def itt(self):
        return struct.unpack(">I", self.bhs[16:20])[0]

    @property
    def takes_stat_sn(self):
        """Whether a target's PDU uses up a StatSN (RFC 7143 11.7.2, 11.8.2, 11.19.1)."""
        if self.opcode == DATA_IN:
            return bool(self.flags & 1)
        return self.opcode != R2T and not (self.opcode == NOP_IN and self.itt == NO_TAG)

    def u32(self, offset):
        return struct.unpack(">I", self.bhs[offset:offset + 4])[0]

    def put32(self, offset, value):
        self.bhs[offset:offset + 4] = struct.pack(">I", value & 0xFFFFFFFF)
        return self

    def encode(self):
        self.bhs[4] = len(self.ahs) // 4
        self.bhs[5:8] = struct.pack(">I", len(self.data))[1:]
        return bytes(self.bhs) + self.ahs + self.data + bytes(-len(self.data) % 4)

    def text(self):
        pairs = [item.split(b"=", 1) for item in self.data.split(b"\0") if b"=" in item]
        return {key.decode(): value.decode() for key, value in pairs}


def make_pdu(opcode, flags=0x80, immediate=False, data=b""):
    bhs = bytearray(48)
    bhs[0] = opcode | (0x40 if immediate else 0)
    bhs[1] = flags
    return Pdu(bhs, data)


def encode_keys(keys):
    pairs = keys.items() if isinstance(keys, dict) else keys
    # surrogateescape: "\udcff" is the byte 0xff.
    return b"".join(f"{key}={value}".encode(errors="surrogateescape") + b"\0" for key, value in pairs)


class Initiator:
    """`portal` is "host:port"."""

    def __init__(self, portal, name="iqn.2026-11.io.goldlink.test:initiator", isid=ISID, timeout_seconds=30):
        host, port = portal.rsplit(":", 1)
        self.name, self.isid = name, isid
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout_seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.cmd_sn = 1
        self.exp_stat_sn = 0
        self.next_tag = 1
        self.tsih = 0
        self.keys = {}  # as negotiated

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Bytes and PDUs

    def send_bytes(self, data):
        self.socket.sendall(data)

    def send(self, pdu):
        self.send_bytes(pdu.encode())

    def receive_bytes(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed()
            data += part
        return data

    def receive(self):
        bhs = self.receive_bytes(48)
        ahs = self.receive_bytes(bhs[4] * 4)
        length = int.from_bytes(bhs[5:8], "big")
        data = self.receive_bytes(length + -length % 4)
        pdu = Pdu(bhs, data[:length], ahs)
        pdu.padding = data[length:]
        if pdu.takes_stat_sn:
            self.exp_stat_sn = (pdu.u32(24) + 1) & 0xFFFFFFFF
        return pdu

    def is_closed(self):
        """Waits for the target to close; other PDUs before that are dropped."""
        try:
            while True:
                self.receive()
        except Closed:
            return True

    def tag(self):
        self.next_tag += 1
        return self.next_tag

    # Login (RFC 7143 11.12), CHAP (12.1)

    def login_pdu(self, csg, nsg, transit, keys):
        pdu = make_pdu(LOGIN, (0x80 if transit else 0) | csg << 2 | (nsg if transit else 0), True, encode_keys(keys))
        pdu.bhs[8:14] = self.isid
        pdu.bhs[14:16] = struct.pack(">H", self.tsih)
        return pdu.put32(16, 1).put32(24, self.cmd_sn).put32(28, self.exp_stat_sn)

    def login_step(self, csg, nsg, transit, keys):
        self.send(self.login_pdu(csg, nsg, transit, keys))
        answer = self.receive()
        assert answer.opcode == LOGIN_RESPONSE, f"opcode {answer.opcode:#x} is no login response"
        status = struct.unpack(">H", answer.bhs[36:38])[0]
        if status != 0:
            raise LoginFailed(status)
        self.keys.update(answer.text())
        return answer

    def login(self, target, username=None, secret=None, discovery=False, keys=None, clear_attention=True):
        first = {"InitiatorName": self.name, "SessionType": "Discovery" if discovery else "Normal"}
        if target:
            first["TargetName"] = target
        first["AuthMethod"] = "CHAP,None" if username else "None"
        answer = self.login_step(0, 1, username is None, first)
        if self.keys.get("AuthMethod") == "CHAP":
            answer = self.login_step(0, 1, False, {"CHAP_A": 5})
            offer = answer.text()
            challenge = bytes.fromhex(offer["CHAP_C"].removeprefix("0x"))
            response = hashlib.md5(bytes([int(offer["CHAP_I"])]) + secret.encode() + challenge).hexdigest()
            answer = self.login_step(0, 1, True, {"CHAP_N": username, "CHAP_R": "0x" + response})
        elif username is not None:
            answer = self.login_step(0, 1, True, {})
        operational = {"HeaderDigest": "None", "DataDigest": "None", "InitialR2T": "Yes", "ImmediateData": "Yes",
                       "MaxRecvDataSegmentLength": 262144, "MaxBurstLength": 262144, "FirstBurstLength": 65536,
                       "ErrorRecoveryLevel": 0, "MaxConnections": 1, **(keys or {})}
        if discovery:
            operational = {key: operational[key] for key in ("HeaderDigest", "DataDigest", "MaxRecvDataSegmentLength")}
        answer = self.login_step(1, 3, True, operational)
        self.tsih = struct.unpack(">H", answer.bhs[14:16])[0]
        if not discovery and clear_attention:
            self.clear_unit_attentions()
        return self

    def clear_unit_attentions(self):
        """What every new session is told first (SPC-4 5.14): power on or reset happened."""
        for _ in range(8):
            try:
                self.scsi(bytes(6))
                return
            except CheckCondition as condition:
                if condition.key != 6:
                    raise

    # Full feature phase

    def command_pdu(self, cdb, read_length=0, data=b"", lun=0, immediate_data=None):
        immediate = data if immediate_data is None else immediate_data
        flags = 0x80 | 0x01 | (0x40 if read_length else 0) | (0x20 if data else 0)
        pdu = make_pdu(SCSI_COMMAND, flags, False, immediate)
        pdu.bhs[8:16] = struct.pack(">BB6x", 0, lun)
        pdu.put32(16, self.tag()).put32(20, read_length or len(data))
        pdu.put32(24, self.cmd_sn).put32(28, self.exp_stat_sn)
        pdu.bhs[32:48] = bytes(cdb).ljust(16, b"\0")
        self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        return pdu

    def finish(self, command, data=b""):
        """Answers R2Ts and collects data-in until the command's status; returns what was read."""
        read = bytearray()
        while True:
            pdu = self.receive()
            if pdu.opcode == NOP_IN:
                if pdu.u32(20) != NO_TAG:
                    self.answer_ping(pdu)
                continue
            if pdu.itt != command.itt:
                raise AssertionError(f"unexpected PDU {pdu.bhs.hex()}")
            if pdu.opcode == DATA_IN:
                offset = pdu.u32(40)
                read[offset:offset + len(pdu.data)] = pdu.data
                if pdu.flags & 1:
                    return self.status(pdu.bhs[3], b"", bytes(read))
            elif pdu.opcode == R2T:
                self.send_data_out(command, pdu, data)
            elif pdu.opcode == SCSI_RESPONSE:
                return self.status(pdu.bhs[3], pdu.data[2:], bytes(read))
            else:
                raise AssertionError(f"unexpected opcode {pdu.opcode:#x}")

    @staticmethod
    def status(status, sense, read):
        if status != 0:
            raise CheckCondition(status, sense)
        return read

    def send_data_out(self, command, r2t, data):
        offset, length, sn = r2t.u32(40), r2t.u32(44), 0
        limit = int(self.keys.get("MaxRecvDataSegmentLength", 8192))
        while length > 0:
            part = min(length, limit)
            pdu = make_pdu(DATA_OUT, 0x80 if part == length else 0, False, data[offset:offset + part])
            pdu.bhs[8:16] = command.bhs[8:16]
            pdu.put32(16, command.itt).put32(20, r2t.u32(20)).put32(28, self.exp_stat_sn)
            pdu.put32(36, sn).put32(40, offset)
            self.send(pdu)
            offset, length, sn = offset + part, length - part, sn + 1

    def answer_ping(self, ping):
        pdu = make_pdu(NOP_OUT, 0x80, True)
        pdu.bhs[8:16] = ping.bhs[8:16]
        pdu.put32(16, NO_TAG).put32(20, ping.u32(20)).put32(24, self.cmd_sn).put32(28, self.exp_stat_sn)
        self.send(pdu)

    def scsi(self, cdb, read_length=0, data=b"", lun=0):
        immediate = data[:min(int(self.keys.get("FirstBurstLength", 65536)),
                              int(self.keys.get("MaxRecvDataSegmentLength", 8192)))]
        if self.keys.get("ImmediateData") != "Yes":
            immediate = b""
        command = self.command_pdu(cdb, read_length, data, lun, immediate)
        self.send(command)
        return self.finish(command, data)

    def read(self, lba, blocks, block_bytes=512, lun=0):
        cdb = struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)
        return self.scsi(cdb, blocks * block_bytes, lun=lun)

    def write(self, lba, data, block_bytes=512, lun=0, fua=False):
        cdb = struct.pack(">BBQIBB", 0x8A, 8 if fua else 0, lba, len(data) // block_bytes, 0, 0)
        self.scsi(cdb, data=data, lun=lun)

    def flush(self, lun=0):
        self.scsi(struct.pack(">BBIBHB", 0x35, 0, 0, 0, 0, 0), lun=lun)

    def ping(self, data=b"ping"):
        pdu = make_pdu(NOP_OUT, 0x80, True, data)
        pdu.put32(16, self.tag()).put32(20, NO_TAG).put32(24, self.cmd_sn).put32(28, self.exp_stat_sn)
        self.send(pdu)
        answer = self.receive()
        assert answer.opcode == NOP_IN and answer.data == data, f"no echo: {answer.bhs.hex()}"

    def send_targets(self):
        pdu = make_pdu(TEXT, 0x80, False, encode_keys({"SendTargets": "All"}))
        pdu.put32(16, self.tag()).put32(20, NO_TAG).put32(24, self.cmd_sn).put32(28, self.exp_stat_sn)
        self.cmd_sn += 1
        self.send(pdu)
        answer = self.receive()
        assert answer.opcode == TEXT_RESPONSE, f"opcode {answer.opcode:#x} is no text response"
        return [item[11:].decode() for item in answer.data.split(b"\0") if item.startswith(b"TargetName=")]

    def logout(self):
        pdu = make_pdu(LOGOUT, 0x80, True)
        pdu.put32(16, self.tag()).put32(24, self.cmd_sn).put32(28, self.exp_stat_sn)
        self.send(pdu)
        while self.receive().opcode != LOGOUT_RESPONSE:
            pass
        self.close()


def random_isid():
    return b"\x80" + os.urandom(5)


def ipxe_isid():
    return bytes.fromhex("40002723") + os.urandom(2)
