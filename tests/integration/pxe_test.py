"""goldlink-pxe as the machines and the manager meet it: on a network of namespaces, beside dnsmasq as
the site's DHCP server, with a target's control API played by this test."""

import http.server
import json
import pathlib
import random
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

import pxe_wire as wire  # noqa: E402
from harness.processes import Api, TestCase, wait_until  # noqa: E402
from pxe_lan import Lan, inside, run_dnsmasq  # noqa: E402

MAC = "52:54:00:00:00:01"
STRANGER = "52:54:00:00:00:99"
LINK = "11111111-2222-4333-8444-555555555555"
SERVER = "10.77.0.1"
CLIENT = "10.77.0.50"
BOOT_FILES = pathlib.Path("/usr/lib/ipxe")
NBPS = ["undionly.kpxe", "snponly.efi", "ipxe.efi"]
IQN = "iqn.2026-11.io.goldlink:pc-001"


class PlayedTarget:
    """POST /links/{id}/boots of a target's control API, on a unix socket. Set `answer` to change it."""

    def __init__(self, path):
        self.requests = []
        self.status = 200
        self.answer = {"generation": 4, "iqn": IQN, "portal": f"{SERVER}:3260", "lun": 0,
                       "username": "boot-4", "secret": "abcdefgh1234", "policy": "discard",
                       "version": "00" * 32}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, json.loads(body)))
                answer = json.dumps(outer.answer).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def address_string(self):
                return "unix"

            def log_message(self, *arguments):
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 256  # a room asks at once

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class PxeTest(TestCase):
    mode = ["--mode", "proxy"]

    def setUp(self):
        super().setUp()
        self.lan = Lan()
        self.addCleanup(self.lan.close)
        self.server_host = self.lan.host("srv", f"{SERVER}/24")
        self.client_host = self.lan.host("cli")
        self.control = Api(f"unix:{self.folder}/pxe.sock")
        self.boot_files = BOOT_FILES
        self.target_socket = self.folder / "target.sock"
        self.revision = 0

    def start_pxe(self, *more):
        return self.daemon(
            "goldlink-pxe",
            ["--state-dir", self.folder / "pxe", "--control", f"unix:{self.folder}/pxe.sock",
             "--target-control", f"unix:{self.target_socket}", "--interface", "eth0",
             "--boot-files", self.boot_files, "--http", "0.0.0.0:8081", *self.mode, *more],
            wrapper=("ip", "netns", "exec", self.server_host)).start()

    def start_site_dhcp(self):
        """The site's own server: gives addresses, knows nothing of booting."""
        host = self.lan.host("site", "10.77.0.2/24")
        run_dnsmasq(self, host, "site", "--no-ping", "--interface=eth0", "--dhcp-range=10.77.0.100,10.77.0.150,1h")

    def start_target(self):
        target = PlayedTarget(self.target_socket)
        self.addCleanup(target.close)
        return target

    def put_table(self, policy="register", link=LINK, boot="link", install_lun=None, **settings):
        self.revision += 1
        self.check(self.control.put("/table", {
            "revision": self.revision,
            "settings": {"unknown_policy": policy, "menu_timeout_seconds": 7, "http_base": None,
                         "naming_pattern": "PC-{n:03}", **settings},
            "clients": [{"id": "c1", "name": "PC-001", "macs": [MAC], "link_id": link, "boot": boot,
                         "install_lun": install_lun, "initiator": "iqn.2026-11.io.goldlink.client:pc-001"}]}), 200)

    def dhcp_client(self, port=68):
        client = wire.DhcpClient(self.client_host, port)
        self.addCleanup(client.close)
        return client

    def give_client_address(self):
        self.lan.give_address(self.client_host, f"{CLIENT}/24")

    def tftp(self):
        return wire.TftpClient(self.client_host, SERVER)

    def http_get(self, path, method="GET"):
        with inside(self.client_host):
            return Api(f"http://{SERVER}:8081").request(method, path)

    def script(self, mac=MAC, more=""):
        answer = self.http_get(f"/boot?mac={mac}&arch=bios{more}")
        self.assertEqual(answer.status, 200, answer)
        text = answer.body.decode()
        self.assertTrue(text.startswith("#!ipxe\n"), text)
        return text

    def events(self, after=0):
        return self.check(self.control.get(f"/events?after={after}"), 200)["events"]

    def kinds(self):
        return [event["kind"] for event in self.events()]


class ProxyDhcp(PxeTest):
    def test_offers_boot_files_beside_the_sites_server(self):
        self.start_site_dhcp()
        self.start_pxe()
        self.put_table()
        client = self.dhcp_client()
        url = f"http://{SERVER}:8081"
        rows = [(wire.pxe_options(0), "undionly.kpxe", b"PXEClient"),
                (wire.pxe_options(7), "snponly.efi", b"PXEClient"),
                (wire.pxe_options(9), "snponly.efi", b"PXEClient"),
                (wire.pxe_options(16, b"HTTPClient:Arch:00016:UNDI:003001"), f"{url}/files/snponly.efi",
                 b"HTTPClient"),
                (wire.ipxe_options(7), f"{url}/boot?mac={MAC}&arch=uefi-x64", b"PXEClient")]
        for number, (options, file, vendor_class) in enumerate(rows):
            with self.subTest(file=file, row=number):
                packet = wire.dhcp_packet(MAC, wire.DISCOVER, *options, xid=100 + number)
                replies = client.exchange(packet, count=2)
                self.assertEqual(len(replies), 2)
                ours = next(r for r in replies if r.source[0] == SERVER)
                site = next(r for r in replies if r.source[0] == "10.77.0.2")
                self.assertNotEqual(site.yiaddr, "0.0.0.0")
                self.assertEqual(site.file, "")
                self.assertEqual(ours.kind, wire.OFFER)
                self.assertEqual(ours.yiaddr, "0.0.0.0")
                self.assertEqual(ours.siaddr, SERVER)
                self.assertEqual(ours.mac, MAC)
                self.assertEqual(ours.options[54], socket.inet_aton(SERVER))
                self.assertEqual(ours.options[60], vendor_class)
                self.assertEqual(ours.options[97], b"\0" + wire.UUID)
                self.assertTrue(ours.file.startswith(file), ours.file)
                if vendor_class == b"PXEClient":
                    self.assertEqual(ours.options[43], b"\x06\x01\x08\xff")

    def test_keeps_silent_where_it_has_nothing_to_say(self):
        self.start_pxe()
        self.put_table(policy="local")
        client = self.dhcp_client()
        silent = [wire.dhcp_packet(MAC, wire.DISCOVER, xid=1),  # no wish to boot
                  wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(11), xid=2),  # arm64
                  wire.dhcp_packet(STRANGER, wire.DISCOVER, *wire.pxe_options(0), xid=3),
                  wire.dhcp_packet(MAC, wire.REQUEST, *wire.pxe_options(0), xid=4)]
        for packet in silent:
            client.send(packet)
        # One thread answers in order: when this has its answer, the others were dealt with.
        replies = client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=5))
        self.assertEqual([r.xid for r in replies], [5])
        for xid in (1, 2, 3, 4):
            self.assertEqual(client.replies(xid, 1, timeout_seconds=0.05), [])
        refused = [e for e in self.events() if e["kind"] == "boot_refused"]
        self.assertEqual(len(refused), 1)
        self.assertIn("snponly-arm64.efi", refused[0]["data"]["why"])

    def test_port_4011_answers_to_the_port_the_request_came_from(self):
        self.start_pxe()
        self.put_table()
        self.give_client_address()
        for port in (4011, 68):
            client = self.dhcp_client(port)
            packet = wire.dhcp_packet(MAC, wire.REQUEST, *wire.pxe_options(7), xid=port, ciaddr=CLIENT)
            replies = client.exchange(packet, address=SERVER, port=4011)
            self.assertEqual(len(replies), 1)
            self.assertEqual(replies[0].kind, wire.ACK)
            self.assertEqual(replies[0].file, "snponly.efi")
            self.assertEqual(replies[0].source, (SERVER, 4011))

    def test_a_booting_machine_does_not_wait_for_an_ipv6_router(self):
        self.start_pxe()
        self.put_table()
        client = self.dhcp_client()
        solicitor = wire.Solicitor(self.client_host)
        self.addCleanup(solicitor.close)
        client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.ipxe_options()))
        answer = solicitor.advertisement(MAC, timeout_seconds=20)
        self.assertIsNotNone(answer)
        # Nothing offered: no flags, lifetime 0, no options.
        self.assertEqual(answer[4:], bytes(12))
        self.assertIsNone(solicitor.advertisement(STRANGER, timeout_seconds=1))

    def test_garbage_harms_nothing(self):
        self.start_pxe()
        self.put_table()
        client = self.dhcp_client()
        chance = random.Random(20261121)
        good = wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0))
        for number in range(600):
            if number % 3 == 0:
                packet = chance.randbytes(chance.randrange(0, 1400))
            elif number % 3 == 1:
                packet = good[:chance.randrange(len(good))]
            else:
                damaged = bytearray(good)
                for _ in range(chance.randrange(1, 12)):
                    damaged[chance.randrange(len(damaged))] = chance.randrange(256)
                packet = bytes(damaged)
            for port in (67, 4011):
                client.send(packet, port=port)
        reply = client.insist(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=77777))
        self.assertEqual(reply.file, "undionly.kpxe")
        metrics = self.control.get("/metrics").body.decode()
        malformed = next(line for line in metrics.splitlines()
                         if line.startswith("goldlink_pxe_dhcp_malformed_total "))
        self.assertGreater(int(malformed.split()[1]), 300)

    def test_a_flood_of_forged_machines_is_rationed(self):
        daemon = self.start_pxe()
        self.put_table()
        client = self.dhcp_client()
        for number in range(2000):
            mac = f"02:00:00:00:{number // 256:02x}:{number % 256:02x}"
            client.send(wire.dhcp_packet(mac, wire.DISCOVER, *wire.pxe_options(0), xid=number + 1))
        client.insist(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=99999))
        events = wait_until(lambda: [e for e in self.events() if e["mac"] == MAC], "the known PC's events")
        self.assertEqual([e["kind"] for e in events], ["dhcp_discover", "dhcp_offer"])
        self.assertLess(len(self.events()), 900)
        self.assertLess(len(daemon.log().splitlines()), 600)


class Tftp(PxeTest):
    def test_every_boot_file_arrives_byte_for_byte(self):
        self.start_pxe()
        self.give_client_address()
        for name in NBPS:
            expected = (BOOT_FILES / name).read_bytes()
            for options in ([], [("blksize", 1468), ("tsize", 0)], [("tsize", 0), ("blksize", 1468), ("windowsize", 4)],
                            [("blksize", 65464), ("windowsize", 64), ("timeout", 2)]):
                with self.subTest(file=name, options=options):
                    content, taken = self.tftp().read(name, options)
                    self.assertEqual(content, expected)
                    self.assertEqual(sorted(taken), sorted(key for key, _ in options))
                    if "tsize" in taken:
                        self.assertEqual(int(taken["tsize"]), len(expected))
                    self.assertLessEqual(int(taken.get("blksize", 512)), 1468)

    def test_lost_packets_are_sent_again(self):
        self.start_pxe()
        self.give_client_address()
        expected = (BOOT_FILES / "snponly.efi").read_bytes()
        for window in (1, 4, 16):
            content, _ = self.tftp().read("snponly.efi", [("blksize", 1468), ("windowsize", window)],
                                          lose=lambda n: n in (1, 20, 90))
            self.assertEqual(content, expected)
        metrics = self.control.get("/metrics").body.decode()
        self.assertNotIn("goldlink_pxe_tftp_retransmitted_blocks_total 0\n", metrics)

    def test_nothing_but_the_folder_is_served(self):
        folder = self.folder / "boot"
        folder.mkdir()
        (folder / "good.efi").write_bytes(b"good")
        (folder / ".hidden").write_bytes(b"x")
        (folder / "sub").mkdir()
        (folder / "out.efi").symlink_to("/etc/passwd")
        (self.folder / "secret").write_bytes(b"secret")
        self.boot_files = folder
        self.start_pxe()
        self.give_client_address()
        refused = {"../secret": 2, "/etc/passwd": 2, "..": 2, "sub/../good.efi": 2, "./../secret": 2,
                   "..\\secret": 2, "\\..\\secret": 2, "/": 2, ".hidden": 2, "sub": 2, "out.efi": 2, "": 2, "a" * 300: 2,
                   str(folder / "good.efi"): 2, "missing.efi": 1}
        for name, code in refused.items():
            with self.subTest(name=name):
                with self.assertRaises(wire.TftpError) as caught:
                    self.tftp().read(name)
                self.assertEqual(caught.exception.code, code)
                self.assertNotIn(str(self.folder), caught.exception.message)
        with self.assertRaises(wire.TftpError) as caught:
            self.tftp().read("good.efi", mode=b"netascii")
        self.assertEqual(caught.exception.code, 4)
        with self.assertRaises(wire.TftpError) as caught:
            self.tftp().read("good.efi", opcode=2)
        self.assertEqual(caught.exception.code, 2)
        for name in ("good.efi", "/good.efi", "//good.efi", "./good.efi", "\\good.efi"):
            self.assertEqual(self.tftp().read(name)[0], b"good")
        for path in ("/files/../secret", "/files/%2e%2e%2fsecret", "/files/.hidden", "/files/out.efi",
                     "/files/sub", "/files/"):
            self.assertIn(self.http_get(path).status, (403, 404, 400), path)
        self.assertEqual(self.http_get("/files/good.efi").body, b"good")

    def test_garbage_and_half_open_transfers_leave_room_for_others(self):
        self.start_pxe()
        self.give_client_address()
        tftp = self.tftp()
        chance = random.Random(7)
        idle = []
        with tftp.open() as sock:
            for _ in range(300):
                sock.sendto(chance.randbytes(chance.randrange(0, 600)), (SERVER, 69))
        for _ in range(8):
            idle.append(tftp.open())
            self.addCleanup(idle[-1].close)
            tftp.request(idle[-1], "undionly.kpxe")
            self.assertEqual(tftp.receive(idle[-1])[0][:4], b"\0\3\0\1")
        other = self.lan.host("oth", "10.77.0.60/24")
        content, _ = wire.TftpClient(other, SERVER).read("undionly.kpxe")
        self.assertEqual(content, (BOOT_FILES / "undionly.kpxe").read_bytes())


class Scripts(PxeTest):
    def setUp(self):
        super().setUp()
        self.target = self.start_target()
        self.start_pxe()
        self.give_client_address()

    def test_a_known_machine_gets_its_disk(self):
        self.put_table()
        text = self.script(more="&uuid=00112233-4455-6677-8899-aabbccddeeff")
        for line in ("set initiator-iqn iqn.2026-11.io.goldlink.client:pc-001", "set username boot-4",
                     "set password abcdefgh1234", "set netX/gateway 0.0.0.0",
                     f"sanboot --drive 0x80 iscsi:{SERVER}::3260:0:{IQN} || goto failed"):
            self.assertIn(line + "\n", text)
        path, body = self.target.requests[0]
        self.assertEqual(path, f"/links/{LINK}/boots")
        self.assertEqual(body["initiator"], "iqn.2026-11.io.goldlink.client:pc-001")
        event = self.events()[-1]
        self.assertEqual((event["kind"], event["mac"], event["client_id"]), ("script", MAC, "c1"))
        self.assertEqual(event["boot_id"], body["boot_id"])
        self.assertEqual(event["data"]["address"], CLIENT)
        self.assertEqual(event["data"]["arch"], "bios")
        self.assertEqual((event["data"]["link_id"], event["data"]["generation"]), (LINK, 4))

    def test_a_portal_on_every_address_is_the_one_the_machine_reached(self):
        self.put_table()
        for portal in ("0.0.0.0:3261", "127.0.0.1:3261"):
            self.target.answer["portal"] = portal
            self.assertIn(f"iscsi:{SERVER}::3261:0:{IQN}", self.script())
        self.target.answer["portal"] = "10.99.0.1:3260"
        text = self.script()
        self.assertIn("iscsi:10.99.0.1::3260", text)
        self.assertNotIn("gateway", text)  # another subnet: the gateway is needed

    def test_an_installer_starts_from_its_disc_with_the_disk_attached(self):
        self.put_table(install_lun=2)
        self.target.answer["portal"] = "10.99.0.1:3260"
        text = self.script()
        self.assertIn(f"sanhook --drive 0x80 iscsi:10.99.0.1::3260:0:{IQN} || goto failed\n"
                      f"sanboot --no-describe --drive 0x81 iscsi:10.99.0.1::3260:2:{IQN} || goto failed\n", text)
        self.assertEqual(self.events()[-1]["data"]["install_lun"], "2")
        self.assertEqual(self.check(self.control.get("/table"), 200)["clients"][0]["install_lun"], 2)
        self.put_table()
        self.assertNotIn("sanhook", self.script())
        revision = self.revision + 1
        for wrong in (-1, 256, "2"):
            self.check(self.control.put("/table", {"revision": revision, "settings": {"unknown_policy": "local"}, "clients": [
                {"id": "c1", "name": "PC-001", "macs": [MAC], "install_lun": wrong}]}), 400)

    def test_a_target_cannot_inject_script_lines(self):
        self.put_table()
        sound = dict(self.target.answer)
        for field in ("iqn", "username", "secret", "portal"):
            for value in ("x\nexit", "x || exit", "${net0/mac}", "x y"):
                with self.subTest(field=field, value=value):
                    self.target.answer = {**sound, field: value}
                    text = self.script()
                    self.assertNotIn("sanboot --drive 0x80 iscsi", text)
                    self.assertNotIn("\nexit\n", text)
                    self.assertNotIn("${net0", text)
        self.assertEqual(set(self.kinds()), {"boot_refused"})

    def test_unknown_machines_are_reported_by_policy(self):
        self.put_table(policy="register")
        text = self.script(STRANGER)
        self.assertIn(STRANGER, text)
        self.assertIn("choose --default ${goldlink-default} --timeout 7000", text)
        self.assertIn("set goldlink-default local\n", text)
        self.assertEqual(self.kinds(), ["client_unknown"])
        self.assertIsNone(self.events()[-1]["client_id"])

        self.put_table(policy="ask")
        self.assertIn("&register=1", self.script(STRANGER))
        self.assertEqual(self.kinds()[1:], ["local_boot"])
        self.script(STRANGER, "&try=2&register=1")
        self.assertEqual(self.kinds()[2:], ["client_unknown"])

        self.put_table(policy="local")
        self.assertNotIn("menu", self.script(STRANGER).split(":retry")[0])
        self.assertEqual(self.kinds()[3:], ["local_boot"])
        self.assertEqual(self.target.requests, [])

    def test_local_machines_and_machines_without_disk(self):
        self.put_table(boot="local")
        self.assertIn("\ngoto local\n", self.script())
        self.assertEqual(self.kinds(), ["local_boot"])
        self.put_table(link=None)
        self.assertIn("no disk assigned", self.script())
        self.assertEqual(self.kinds()[1:], ["boot_refused"])
        self.assertEqual(self.target.requests, [])

    def test_what_is_wrong_with_the_target_is_said_on_the_screen(self):
        self.put_table()
        self.target.status = 409
        self.target.answer = {"type": "link-not-ready", "title": "Link not ready", "status": 409,
                              "detail": "version 12ab is missing; import it again"}
        text = self.script()
        words = "the disk server refuses this boot: version 12ab is missing, import it again"
        self.assertIn(f"echo Goldlink: PC-001: {words}\n", text)
        self.assertIn(words, text.replace("\nitem --gap --", ""))
        self.assertIn("set goldlink-default retry\n", text)
        self.assertIn("set goldlink-default local\n", self.script(more="&try=5").split(":menu")[0])
        self.target.close()
        self.assertIn("the disk server does not answer", self.script())
        self.assertEqual(set(self.kinds()), {"boot_refused"})
        self.assertIn("version 12ab", self.events()[0]["data"]["why"])

    def test_a_failed_start_is_reported(self):
        self.put_table()
        self.script()
        answer = self.http_get(f"/boot/failed?mac={MAC}&stage=sanboot&error=0x4c126035%0aexit")
        self.assertEqual(answer.status, 200)
        script, failed = self.events()
        self.assertEqual(failed["kind"], "ipxe_failed")
        self.assertEqual(failed["boot_id"], script["boot_id"])
        self.assertIn("0x4c126035 exit", failed["data"]["why"])

    def test_bad_questions_are_refused(self):
        self.put_table()
        for path in ("/boot", "/boot?mac=", "/boot?mac=xyz", "/boot?mac=ff:ff:ff:ff:ff:ff",
                     "/boot/failed", "/boot/failed?mac=1"):
            self.assertEqual(self.http_get(path).status, 400, path)
        text = self.script(more="&arch=%24%7Bx%7D%0aexit&uuid=a%0ab&ip=1.2&try=-1")
        self.assertNotIn("${x}", text)
        self.assertNotIn("\nexit\n", text)
        self.assertEqual(self.http_get("/nothing").status, 404)

    def test_one_boot_id_from_firmware_to_script(self):
        self.put_table()
        client = self.dhcp_client()
        client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=1))
        client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=1))
        client.send(wire.dhcp_packet(MAC, wire.REQUEST, *wire.pxe_options(0), xid=1,
                                     ciaddr="0.0.0.0") [:-1] + wire.option(50, socket.inet_aton(CLIENT)) + b"\xff")
        self.tftp().read("undionly.kpxe")
        wait_until(lambda: "nbp_sent" in self.kinds(), "the NBP's event")
        client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.ipxe_options(), xid=2))
        self.script()
        events = wait_until(lambda: [e for e in self.events() if e["kind"] == "script"] and self.events(),
                            "the script's event")
        self.assertEqual([e["kind"] for e in events],
                         ["dhcp_discover", "dhcp_offer", "nbp_sent", "dhcp_discover", "dhcp_offer", "script"])
        self.assertEqual(len({e["boot_id"] for e in events}), 1)
        self.assertEqual([e["data"].get("stage") for e in events if e["kind"] == "dhcp_discover"],
                         ["firmware", "ipxe"])
        nbp = events[2]
        self.assertEqual(nbp["data"]["file"], "undionly.kpxe")
        self.assertEqual(nbp["data"]["bytes"], (BOOT_FILES / "undionly.kpxe").stat().st_size)
        self.assertEqual(self.target.requests[0][1]["boot_id"], events[0]["boot_id"])

        client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0), xid=3))
        self.assertNotEqual(self.events()[-1]["boot_id"], events[0]["boot_id"])

    def test_a_room_switched_on_at_once_is_served(self):
        self.put_table()
        hosts = [self.lan.host(f"h{number}", f"10.77.0.{60 + number}/24") for number in range(8)]
        expected = (BOOT_FILES / "snponly.efi").read_bytes()
        options = [("tsize", 0), ("blksize", 1468), ("windowsize", 4)]
        outcomes = []

        def boot(host):
            content, _ = wire.TftpClient(host, SERVER, timeout_seconds=30).read("snponly.efi", options)
            outcomes.append((content == expected, "sanboot --drive 0x80 iscsi" in self.script()))

        threads = [threading.Thread(target=boot, args=(host,)) for host in hosts for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(outcomes, [(True, True)] * 64)

    def test_uefi_http_boot_gets_the_program_whole(self):
        for name in ("snponly.efi", "ipxe.efi"):
            expected = (BOOT_FILES / name).read_bytes()
            head = self.http_get(f"/files/{name}", method="HEAD")
            self.assertEqual(head.status, 200)
            self.assertEqual(int(head.headers["Content-Length"]), len(expected))
            self.assertEqual(head.headers["Content-Type"], "application/efi")
            self.assertEqual(self.http_get(f"/files/{name}").body, expected)


class Control(PxeTest):
    def test_the_table_survives_a_restart_and_an_older_one_is_refused(self):
        daemon = self.start_pxe()
        self.revision = 6
        self.put_table(http_base="http://boot.example.org:8081")
        held = self.check(self.control.get("/table"), 200)
        self.assertEqual(held["revision"], 7)
        self.assertEqual(held["clients"][0]["macs"], [MAC])
        stale = self.control.put("/table", {**held, "revision": 6})
        self.assertEqual(stale.status, 409)
        self.assertEqual(stale.json["type"].rsplit("/", 1)[-1], "stale-revision")
        self.check(self.control.put("/table", held), 200)  # the same again changes nothing
        daemon.kill()
        self.start_pxe()  # with no target and no manager about
        self.assertEqual(self.check(self.control.get("/table"), 200), held)
        client = self.dhcp_client()
        replies = client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.ipxe_options()))
        self.assertTrue(replies[0].file.startswith("http://boot.example.org:8081/boot?mac="))
        status = self.check(self.control.get("/status"), 200)
        self.assertEqual((status["revision"], status["clients"], status["mode"], status["interfaces"]),
                         (7, 1, "proxy", ["eth0"]))
        self.assertIn("snponly.efi", status["boot_files"]["files"])

    def test_bad_tables_are_refused_and_change_nothing(self):
        self.start_pxe()
        self.put_table()
        held = self.check(self.control.get("/table"), 200)
        client = held["clients"][0]
        other = {**client, "id": "c2", "name": "PC-002"}
        bad = [(b"{", 400, ""), ([], 400, ""), ({"revision": 2}, 400, "clients"),
               ({**held, "revision": -1}, 400, "revision"), ({**held, "extra": 1}, 400, "extra"),
               ({**held, "clients": [{**client, "macs": ["x"]}]}, 400, "MAC"),
               ({**held, "clients": [{**client, "macs": []}]}, 400, "MAC"),
               ({**held, "clients": [{**client, "boot": "floppy"}]}, 400, "boot"),
               ({**held, "clients": [{**client, "link_id": "../x"}]}, 400, "link_id"),
               ({**held, "clients": [{**client, "initiator": "a b"}]}, 400, "initiator"),
               ({**held, "clients": [client, other]}, 409, "PC-002"),
               ({**held, "settings": {"unknown_policy": "x"}}, 400, "unknown_policy"),
               ({**held, "settings": {"http_base": "http://a/\nexit"}}, 400, "http_base"),
               ({**held, "settings": {"menu_timeout_seconds": 0}}, 400, "menu_timeout_seconds")]
        for body, status, word in bad:
            with self.subTest(body=body):
                answer = self.control.put("/table", body)
                self.assertEqual(answer.status, status, answer)
                self.assertIn(word, answer.json["detail"])
        self.assertEqual(self.check(self.control.get("/table"), 200), held)

    def test_a_damaged_table_file_is_set_aside(self):
        (self.folder / "pxe").mkdir()
        (self.folder / "pxe" / "table.json").write_text('{"revision": 3, "cli')
        daemon = self.start_pxe()
        self.assertEqual(self.check(self.control.get("/table"), 200)["clients"], [])
        aside = list((self.folder / "pxe").glob("table.json.damaged-*"))
        self.assertEqual(len(aside), 1)
        self.assertIn(aside[0].name, daemon.log())
        told = self.check(self.control.get("/status"), 200)["problems"]
        self.assertEqual([aside[0].name in problem["advice"] for problem in told], [True])
        self.check(self.control.get("/live"), 200)
        self.put_table()

    def test_a_waiting_reader_gets_the_next_event_and_numbers_survive_a_restart(self):
        daemon = self.start_pxe()
        self.put_table()
        answers = []
        reader = threading.Thread(
            target=lambda: answers.append(self.control.get("/events?after=0&wait_seconds=30")))
        reader.start()
        client = self.dhcp_client()
        client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(0)))
        reader.join(20)
        self.assertEqual(answers[0].json["events"][0]["kind"], "dhcp_discover")
        before = self.events()
        daemon.stop()
        self.start_pxe()
        self.assertEqual(self.events(), before)
        client.exchange(wire.dhcp_packet(MAC, wire.DISCOVER, *wire.pxe_options(7), xid=5))
        after = self.events(before[-1]["seq"])
        self.assertEqual(after[0]["seq"], before[-1]["seq"] + 1)

    def test_wrong_options_say_what_to_do(self):
        self.start_pxe()
        second = ["--state-dir", self.folder / "b", "--control", f"unix:{self.folder}/b.sock", "--http", "127.0.0.1:0"]
        rows = [([*second, "--interface", "nic9"], "no network interface nic9"),
                ([*second, "--interface", "eth0", "--tftp", "off"], "another DHCP or TFTP server"),
                ([*second, "--mode", "off"], "UDP 0.0.0.0:69"),
                ([*second, "--mode", "dhcp", "--interface", "eth0"], "--dhcp-range"),
                ([*second, "--mode", "dhcp", "--interface", "eth0", "--tftp", "off", "--dhcp-range",
                  "10.1.0.1-10.1.0.9"], "not in the subnet")]
        for arguments, words in rows:
            with self.subTest(arguments=arguments[-4:]):
                run = subprocess.run(
                    ["ip", "netns", "exec", self.server_host, self._daemons[0].arguments[4],
                     *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
                self.assertNotEqual(run.returncode, 0)
                self.assertIn(words, run.stderr + run.stdout)


class AuthoritativeDhcp(PxeTest):
    mode = ["--mode", "dhcp", "--dhcp-range", "10.77.0.100-10.77.0.101", "--dhcp-router", "10.77.0.254",
            "--dhcp-dns", "10.77.0.3"]

    def lease(self, client, mac, xid, *options):
        offers = client.exchange(wire.dhcp_packet(mac, wire.DISCOVER, *options, xid=xid))
        self.assertEqual([o.kind for o in offers], [wire.OFFER])
        replies = client.exchange(wire.dhcp_packet(
            mac, wire.REQUEST, *options, wire.option(50, socket.inet_aton(offers[0].yiaddr)),
            wire.option(54, offers[0].options[54]), xid=xid + 1))
        self.assertEqual([r.kind for r in replies], [wire.ACK])
        self.assertEqual(replies[0].yiaddr, offers[0].yiaddr)
        return replies[0]

    def test_leases_addresses_and_boots(self):
        daemon = self.start_pxe()
        self.put_table()
        client = self.dhcp_client()
        ack = self.lease(client, MAC, 10, *wire.pxe_options(0))
        self.assertEqual(ack.yiaddr, "10.77.0.100")
        self.assertEqual(ack.file, "undionly.kpxe")
        self.assertEqual(ack.siaddr, SERVER)
        self.assertEqual(ack.options[1], socket.inet_aton("255.255.255.0"))
        self.assertEqual(ack.options[3], socket.inet_aton("10.77.0.254"))
        self.assertEqual(ack.options[6], socket.inet_aton("10.77.0.3"))
        self.assertEqual(struct.unpack("!I", ack.options[51])[0], 43200)
        phone = self.lease(client, STRANGER, 20)
        self.assertEqual((phone.yiaddr, phone.file), ("10.77.0.101", ""))

        daemon.kill()  # and what was acknowledged is still theirs
        self.start_pxe()
        self.assertEqual(self.lease(client, STRANGER, 30).yiaddr, "10.77.0.101")
        refused = client.exchange(wire.dhcp_packet(
            "52:54:00:00:00:77", wire.REQUEST, wire.option(50, socket.inet_aton("10.77.0.100")), xid=40))
        self.assertEqual([r.kind for r in refused], [wire.NAK])
        full = client.exchange(wire.dhcp_packet("52:54:00:00:00:78", wire.DISCOVER, xid=50),
                               timeout_seconds=0.5)
        self.assertEqual(full, [])

    def test_damaged_leases_are_set_aside_and_addresses_are_given_on(self):
        client = self.dhcp_client()
        for number, content in enumerate(("", "{", '{"leases": [{"address": "10.77.0.100"}]}', "\0" * 100)):
            with self.subTest(content=content):
                daemon = self.start_pxe()
                self.assertEqual(self.lease(client, MAC, 100 + 10 * number).yiaddr, "10.77.0.100")
                daemon.stop()
                (self.folder / "pxe" / "leases.json").write_text(content)
        daemon = self.start_pxe()
        aside = list((self.folder / "pxe").glob("leases.json.damaged-*"))
        self.assertEqual(len(aside), 4)
        told = self.check(self.control.get("/status"), 200)["problems"]
        self.assertEqual(len(told), 1, told)
        self.assertIn("leases.json cannot be used", told[0]["message"])


if __name__ == "__main__":
    unittest.main()
