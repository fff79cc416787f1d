"""TFTP with clients as they are: that are reset, that ask twice, and that never answer."""

import contextlib
import pathlib
import struct
import sys
import threading
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

import pxe_wire as wire  # noqa: E402
from harness.processes import wait_until  # noqa: E402
from pxe_lan import inside, run  # noqa: E402
from pxe_test import BOOT_FILES, SERVER, PxeTest  # noqa: E402

UEFI = [("tsize", 0), ("blksize", 1468)]


def ack(sock, peer, block):
    sock.sendto(struct.pack("!HH", 4, block), peer)


class TftpClients(PxeTest):
    def setUp(self):
        super().setUp()
        self.start_pxe()
        self.give_client_address()

    def transfers(self):
        return self.check(self.control.get("/status"), 200)["transfers"]

    def open(self):
        sock = self.tftp().open()
        self.addCleanup(sock.close)
        return sock

    def ask(self, sock, name, options=()):
        self.tftp().request(sock, name, options)

    def begin(self, sock, name, options=()):
        """The first packet of a transfer that was just asked for, and who sent it."""
        self.ask(sock, name, options)
        return self.tftp().receive(sock)

    def first_of(self, sock, kind):
        """Receives until a packet of this kind; what is of the old transfer comes before it."""
        while True:
            data, peer = self.tftp().receive(sock)
            if data[:len(kind)] == kind:
                return data, peer

    def read_on(self, sock, peer, name):
        """The file, of whose transfer the OACK for UEFI's options has come."""
        ack(sock, peer, 0)
        content, number = b"", 0
        while True:
            data, sender = self.tftp().receive(sock)
            if sender != peer or data[:4] != struct.pack("!HH", 3, number + 1):
                continue
            number += 1
            content += data[4:]
            ack(sock, peer, number)
            if len(data) < 4 + 1468:
                self.assertEqual(content, (BOOT_FILES / name).read_bytes())
                return

    def test_a_machine_that_was_reset_begins_anew_from_the_same_port(self):
        sock = self.open()
        for name, options, first in (("snponly.efi", UEFI, b"\0\6"), ("undionly.kpxe", (), b"\0\3\0\1"),
                                     ("undionly.kpxe", (), b"\0\3\0\1")):
            with self.subTest(name=name):
                _, peer = self.begin(sock, "undionly.kpxe")
                ack(sock, peer, 1)
                self.assertEqual(self.tftp().receive(sock)[0][:4], b"\0\3\0\2")
                self.ask(sock, name, options)
                _, other = self.first_of(sock, first)
                self.assertNotEqual(other, peer)
                wait_until(lambda: self.transfers() == 1, "the first transfer is over")
                sock.sendto(b"\0\5\0\0\0", other)
                wait_until(lambda: self.transfers() == 0, "the second is over")

    def test_the_next_file_arrives_when_the_last_ack_was_lost(self):
        sock = self.open()
        _, peer = self.begin(sock, "undionly.kpxe", UEFI)
        ack(sock, peer, 0)
        while True:
            data, _ = self.tftp().receive(sock)
            if len(data) < 4 + 1468:
                break
            ack(sock, peer, struct.unpack("!H", data[2:4])[0])
        self.ask(sock, "snponly.efi", UEFI)
        _, peer = self.first_of(sock, b"\0\6")
        self.read_on(sock, peer, "snponly.efi")

    def test_an_impatient_request_is_answered_from_the_port_that_answered_first(self):
        for options, first in ((UEFI, b"\0\6"), ((), b"\0\3\0\1")):
            sock = self.open()
            before, peer = self.begin(sock, "undionly.kpxe", options)
            again, same = self.begin(sock, "undionly.kpxe", options)
            self.assertEqual((again, same), (before, peer))
            self.assertEqual(before[:len(first)], first)
            self.assertEqual(self.transfers(), 1)
            # Another file is not waited for, and the first answer does not get in its way.
            _, other = self.begin(sock, "snponly.efi", UEFI)
            self.assertNotEqual(other, peer)
            self.read_on(sock, other, "snponly.efi")
            wait_until(lambda: self.transfers() == 0, "both are over")

    def test_a_client_that_never_answers_is_sent_two_packets_whatever_it_asked_for(self):
        for options, size in (((), 516), ([("timeout", 30)], 13)):
            with self.subTest(options=options):
                sock = self.open()
                first, _ = self.begin(sock, "undionly.kpxe", options)
                self.assertEqual(len(first), size)
                wait_until(lambda: self.transfers() == 0, "the server gives up")
                sock.setblocking(False)
                packets = []
                with self.assertRaises(BlockingIOError):
                    while True:
                        packets.append(sock.recv(2000))
                self.assertEqual(packets, [first])

    def test_requests_that_nobody_answers_keep_nobody_out(self):
        addresses = [f"10.77.0.{host}" for host in range(100, 170)]
        for address in addresses:
            self.lan.give_address(self.client_host, f"{address}/24")
        socks = []
        for address in addresses:
            for _ in range(8):
                with inside(self.client_host):
                    sock = wire.socket.socket(wire.socket.AF_INET, wire.socket.SOCK_DGRAM)
                self.addCleanup(sock.close)
                sock.bind((address, 0))
                self.ask(sock, "snponly.efi", [("timeout", 30)])
                socks.append(sock)
        content, _ = self.tftp().read("undionly.kpxe")
        self.assertEqual(content, (BOOT_FILES / "undionly.kpxe").read_bytes())
        self.assertLessEqual(self.transfers(), 256)

    def test_what_an_address_left_unfinished_gives_way_to_its_next_request(self):
        for _ in range(8):
            sock = self.open()
            _, peer = self.begin(sock, "undionly.kpxe")
            ack(sock, peer, 1)
            self.assertEqual(self.tftp().receive(sock)[0][:4], b"\0\3\0\2")
        self.assertEqual(self.transfers(), 8)
        refused = []

        def served():
            try:
                return self.tftp().read("undionly.kpxe")[0]
            except wire.TftpError as error:
                refused.append(error.message)
                return None

        content = wait_until(served, "one of them gives way", step_seconds=0.2)
        self.assertEqual(content, (BOOT_FILES / "undionly.kpxe").read_bytes())
        self.assertTrue(all("too many transfers" in message for message in refused), refused)

    def test_a_forged_mass_of_addresses_leaves_places_for_machines_of_the_table(self):
        self.put_table()
        run("ip", "-n", self.client_host, "link", "set", "eth0", "address", "52:54:00:00:00:01")
        crowd = self.lan.host("crowd", "10.77.0.90/24")
        for host in range(100, 160):
            self.lan.give_address(crowd, f"10.77.0.{host}/24")
        held, stop = [], threading.Event()

        def go_on():  # slowly, but so that none of them stands still
            with contextlib.suppress(OSError):  # the test has ended and closes them
                while not stop.wait(0.5):
                    for sock, peer in list(held):
                        ack(sock, peer, struct.unpack("!H", sock.recv(2000)[2:4])[0])

        reader = threading.Thread(target=go_on)
        reader.start()
        self.addCleanup(reader.join)
        self.addCleanup(stop.set)

        def hold(address):
            with inside(crowd):
                sock = wire.socket.socket(wire.socket.AF_INET, wire.socket.SOCK_DGRAM)
            self.addCleanup(sock.close)
            sock.settimeout(5)
            sock.bind((address, 0))
            self.ask(sock, "undionly.kpxe")
            data, peer = sock.recvfrom(2000)
            if data[:2] == b"\0\3":
                ack(sock, peer, 1)
                held.append((sock, peer))
            return data

        for host in range(100, 160):
            for _ in range(8):
                answer = hold(f"10.77.0.{host}")
        self.assertIn(b"too many transfers", answer)
        self.assertEqual(len(held), 512 - 64)
        content, _ = self.tftp().read("undionly.kpxe")
        self.assertEqual(content, (BOOT_FILES / "undionly.kpxe").read_bytes())


if __name__ == "__main__":
    unittest.main()
