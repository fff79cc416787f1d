#!/usr/bin/env python3
"""Records what a Debian reads and writes while it boots: boots the demo's image in an emulated PC over iSCSI, and notes
each command of its disk.

    tests/bench/store/record_boot.py debian_boot.trace      (root; a minute or two)

A line is a command, in the order they were sent: "r" or "w", the first block, the number of blocks of 512 bytes.
"""

import argparse
import pathlib
import socket
import struct
import sys
import tempfile
import threading

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(REPOSITORY / "tests" / "e2e"), str(REPOSITORY / "tests")]

from room_server import Room, RoomServer, demo_image  # noqa: E402

MAC = "52:54:00:b0:07:01"
ISCSI_PORT = 3260
ETH_P_ALL = 3
SCSI_COMMAND = 0x01
COMMANDS = {0x28: ("r", ">xxIxH"), 0x2A: ("w", ">xxIxH"), 0x88: ("r", ">xxQI"), 0x8A: ("w", ">xxQI")}


class Flow:
    """One TCP connection's bytes to the target, put in order, cut into PDUs (RFC 7143 11.2; no digests)."""

    def __init__(self, first):
        self.next = (first + 1) & 0xFFFFFFFF
        self.early = {}
        self.bytes = bytearray()

    def add(self, sequence, data):
        """What came; returns the commands that are whole now."""
        self.early[sequence] = data
        while self.next in self.early:
            data = self.early.pop(self.next)
            self.bytes += data
            self.next = (self.next + len(data)) & 0xFFFFFFFF
        commands = []
        while len(self.bytes) >= 48:
            length = 48 + 4 * self.bytes[4] + (int.from_bytes(self.bytes[5:8], "big") + 3 & ~3)
            if len(self.bytes) < length:
                break
            if self.bytes[0] & 0x3F == SCSI_COMMAND and self.bytes[32] in COMMANDS:
                kind, layout = COMMANDS[self.bytes[32]]
                commands.append((kind, *struct.unpack_from(layout, self.bytes, 32)))
            del self.bytes[:length]
        return commands


class Recorder:
    """Listens on the server's port of the room."""

    def __init__(self, room):
        self.commands, self.flows = [], {}
        with room.entered("server"):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
            self.socket.bind((room.server_interface, 0))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                frame = self.socket.recv(1 << 17)
            except OSError:  # the room is gone
                return
            if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_TCP:
                continue
            tcp = 14 + 4 * (frame[14] & 0xF)
            source, port, sequence = struct.unpack_from(">HHI", frame, tcp)
            if port != ISCSI_PORT:
                continue
            key = (frame[26:30], source)
            if frame[tcp + 13] & 0x02:  # SYN
                self.flows[key] = Flow(sequence)
                continue
            data = frame[tcp + 4 * (frame[tcp + 12] >> 4):14 + int.from_bytes(frame[16:18], "big")]
            if data and key in self.flows:
                self.commands += self.flows[key].add(sequence, data)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=pathlib.Path)
    options = parser.parse_args()
    image = demo_image()
    with tempfile.TemporaryDirectory(prefix="gl-record-") as folder, Room(log_dir=f"{folder}/log") as room:
        pathlib.Path(folder).chmod(0o755)  # PostgreSQL does not run as root and has to reach its folder
        server = RoomServer(room, f"{folder}/state")
        server.cli("image", "import", "debian", image)
        server.cli("client", "add", "pc", "--mac", MAC)
        server.cli("link", "create", "--client", "pc", "--image", "debian", "--policy", "discard")
        recorder = Recorder(room)
        machine = room.machine("pc", "bios", MAC)
        machine.start()
        machine.wait_booted()
        commands = list(recorder.commands)
        disk_bytes = server.get("/images/debian")["versions"][0]["size_bytes"]
        server.stop()
    options.trace.write_text(f"# a Debian 12 boots to multi-user from a disk of {disk_bytes} bytes; tests/bench/store/record_boot.py\n"
                             + "".join(f"{kind} {block} {count}\n" for kind, block, count in commands))
    read = sum(count for kind, _, count in commands if kind == "r") * 512
    print(f"{len(commands)} commands, {read / 1e6:.1f} MB read")


if __name__ == "__main__":
    main()
