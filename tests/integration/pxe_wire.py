"""DHCP packets and a TFTP client, written from the RFCs and apart from the code under test."""

import socket
import struct
import time

from pxe_lan import inside

COOKIE = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
UUID = bytes(range(16))


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


def option(code, data):
    return bytes([code, len(data)]) + data


def dhcp_packet(mac, kind, *options, xid=0x1234, flags=0x8000, ciaddr="0.0.0.0",
                giaddr="0.0.0.0", htype=1):
    header = struct.pack("!BBBBIHH4s4s4s4s16s64s128s", 1, htype, 6, 0, xid, 0, flags,
                         socket.inet_aton(ciaddr), bytes(4), bytes(4), socket.inet_aton(giaddr),
                         mac_bytes(mac), b"", b"")
    return header + COOKIE + option(53, bytes([kind])) + b"".join(options) + b"\xff"


def pxe_options(architecture, vendor_class=b"PXEClient:Arch:00000:UNDI:002001"):
    return [option(60, vendor_class), option(93, struct.pack("!H", architecture)),
            option(94, b"\x01\x02\x01"), option(97, b"\0" + UUID), option(55, bytes([1, 3, 43, 60, 67, 97]))]


def ipxe_options(architecture=0):
    return [*pxe_options(architecture), option(77, b"iPXE"), option(175, b"\xb1\x05\x01\x80\x86\x10\x0e\x13\x01\x01")]


class Reply:
    """A DHCP reply; option data by code."""

    def __init__(self, data, source):
        assert data[236:240] == COOKIE, data
        self.source = source
        self.op, self.xid = data[0], struct.unpack("!I", data[4:8])[0]
        self.flags = struct.unpack("!H", data[10:12])[0]
        self.ciaddr, self.yiaddr, self.siaddr, self.giaddr = (
            socket.inet_ntoa(data[at:at + 4]) for at in (12, 16, 20, 24))
        self.mac = data[28:34].hex(":")
        self.file = data[108:236].split(b"\0")[0].decode()
        self.options = {}
        at = 240
        while data[at] != 255:
            if data[at] == 0:
                at += 1
                continue
            code, length = data[at], data[at + 1]
            self.options[code] = self.options.get(code, b"") + data[at + 2:at + 2 + length]
            at += 2 + length

    @property
    def kind(self):
        return self.options[53][0]


class DhcpClient:
    """Sends as a machine without an address does: from 0.0.0.0:68 of its interface, by broadcast."""

    def __init__(self, namespace, port=68):
        with inside(namespace):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
        self.socket.bind(("", port))

    def close(self):
        self.socket.close()

    def send(self, packet, address="255.255.255.255", port=67):
        self.socket.sendto(packet, (address, port))

    def replies(self, xid, count, timeout_seconds=10):
        """The first `count` replies to this xid; fewer when the time is over."""
        found = []
        deadline = time.monotonic() + timeout_seconds
        while len(found) < count and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data, source = self.socket.recvfrom(4096)
            except socket.timeout:
                break
            reply = Reply(data, source)
            if reply.xid == xid:
                found.append(reply)
        return found

    def exchange(self, packet, count=1, timeout_seconds=10, **where):
        self.send(packet, **where)
        return self.replies(struct.unpack("!I", packet[4:8])[0], count, timeout_seconds)

    def insist(self, packet, tries=20):
        """The reply; asks again each second, as firmware does when packets get lost in a crowd."""
        for _ in range(tries):
            if replies := self.exchange(packet, timeout_seconds=1):
                return replies[0]
        raise AssertionError(f"no reply to a request sent {tries} times")


class Solicitor:
    """Asks for an IPv6 router as iPXE does (RFC 4861), in the name of a MAC."""

    def __init__(self, namespace):
        with inside(namespace):
            self.socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            self.index = socket.if_nametoindex("eth0")
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)

    def close(self):
        self.socket.close()

    def advertisement(self, mac, timeout_seconds):
        """The answer's bytes, or None; asks again each half second."""
        packet = bytes([133, 0, 0, 0, 0, 0, 0, 0, 1, 1]) + mac_bytes(mac)
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            try:
                self.socket.sendto(packet, ("ff02::2", 0, 0, self.index))
            except OSError:  # the link-local address is still being checked for duplicates
                pass
            again = min(deadline, time.monotonic() + 0.5)
            while (left := again - time.monotonic()) > 0:
                self.socket.settimeout(left)
                try:
                    data = self.socket.recv(2000)
                except socket.timeout:
                    break
                if data[0] == 134:
                    return data
        return None


class TftpError(Exception):
    def __init__(self, code, message):
        super().__init__(f"TFTP error {code}: {message}")
        self.code, self.message = code, message


class TftpClient:
    """Reads a file after RFC 1350, 2347-2349 and 7440."""

    def __init__(self, namespace, server, port=69, timeout_seconds=5):
        self.namespace, self.server, self.port, self.timeout = namespace, server, port, timeout_seconds

    def open(self):
        with inside(self.namespace):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(self.timeout)
        sock.bind(("", 0))
        return sock

    def request(self, sock, name, options=(), mode=b"octet", opcode=1):
        name = name if isinstance(name, bytes) else name.encode()
        fields = [name, mode]
        for key, value in options:
            fields += [key.encode(), str(value).encode()]
        sock.sendto(struct.pack("!H", opcode) + b"\0".join(fields) + b"\0", (self.server, self.port))

    def receive(self, sock):
        data, peer = sock.recvfrom(70000)
        if data[:2] == b"\0\5":
            raise TftpError(struct.unpack("!H", data[2:4])[0], data[4:].rstrip(b"\0").decode())
        return data, peer

    def read(self, name, options=(), lose=lambda block: False, **request):
        """The file and the options the server took. `lose(n)`: the n-th DATA packet is lost."""
        with self.open() as sock:
            self.request(sock, name, options, **request)
            data, peer = self.receive(sock)
            taken = {}
            if data[:2] == b"\0\6":
                fields = data[2:].split(b"\0")[:-1]
                taken = {fields[i].decode(): fields[i + 1].decode() for i in range(0, len(fields), 2)}
                sock.sendto(b"\0\4\0\0", peer)
                data = None
            size, window = int(taken.get("blksize", 512)), int(taken.get("windowsize", 1))
            content, block, in_window, arrived = bytearray(), 0, 0, 0
            while True:
                if data is None:
                    data, sender = self.receive(sock)
                    assert sender == peer, "a transfer keeps its port"
                arrived += 1
                packet, data = data, None
                if lose(arrived):
                    continue
                number = struct.unpack("!H", packet[2:4])[0]
                if number != (block + 1) & 0xffff:
                    sock.sendto(struct.pack("!HH", 4, block & 0xffff), peer)
                    in_window = 0
                    continue
                block += 1
                in_window += 1
                content += packet[4:]
                last = len(packet) - 4 < size
                if last or in_window == window:
                    sock.sendto(struct.pack("!HH", 4, block & 0xffff), peer)
                    in_window = 0
                if last:
                    return bytes(content), taken
