"""iPXE boots from a link: two logins, its reads and writes, a redirect, and sessions that nobody ends."""

import os
import struct
import unittest

from harness import iscsi, processes, target_case as target
from harness.exchange import UNDERFLOW
from ipxe import Ipxe

MIB = 1 << 20
CLIENT = "iqn.2026-11.io.goldlink.client:pc-001"
LINUX_ISID = bytes.fromhex("00023d010000")


def read_10(lba, count):
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, count, 0)


def read_16(lba, count):
    return struct.pack(">BBQIBB", 0x88, 0, lba, count, 0, 0)


def write_10(lba, count):
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, count, 0)


class Case(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.second_port = processes.free_port()
        self.target = target.Target(self, "--portal", f"127.0.0.1:{self.second_port}").start()
        self.image = os.urandom(2 * MIB)
        self.version = self.target.import_image(self.image)
        self.link = self.target.put_link("pc-001", self.version, initiators=[CLIENT])

    def connect(self, portal=None):
        initiator = Ipxe(portal or self.target.portal, CLIENT)
        self.addCleanup(initiator.close)
        return initiator

    def ipxe(self, link=None, username="user", secret=target.SECRET, mutual=None):
        return self.connect().log_in((link or self.link)["iqn"], username, secret, mutual)

    def system(self, link, boot):
        """The operating system's own session, by the secret in the iBFT."""
        initiator = iscsi.Initiator(self.target.portal, CLIENT, LINUX_ISID, timeout_seconds=150)
        self.addCleanup(initiator.close)
        return initiator.login(link["iqn"], boot["username"], boot["secret"])

    def good(self, reply, length=None):
        self.assertEqual((reply.status, reply.condition), (0, ()))
        if length is not None:
            self.assertEqual(len(reply.data), length)
        return reply.data

    def open_disk(self, ipxe):
        """What sanboot asks before it reads; an attention makes it ask again."""
        while (reply := ipxe.exchange(bytes(6))).status == 2:
            self.assertEqual(reply.condition[0], 6)
        self.assertEqual(self.good(ipxe.exchange(bytes([0x25] + [0] * 9), 8), 8).hex(),
                         f"{len(self.image) // 512 - 1:08x}00000200")


class Login(Case):
    def test_the_offers_of_authentication(self):
        chap = [{"username": "user", "secret": target.SECRET}]
        mutual = [{**chap[0], "mutual_username": "room", "mutual_secret": "other-secret"}]
        rows = (
            # the link's credentials, iPXE's settings, what is chosen
            ([], {"username": None}, "None"),
            ([], {}, "None"),                                      # offers CHAP,None
            (chap, {}, "CHAP"),
            (mutual, {}, "CHAP"),                                  # the initiator need not ask for proof
            (mutual, {"mutual": ("room", "other-secret")}, "CHAP"),
        )
        for number, (credentials, settings, chosen) in enumerate(rows):
            with self.subTest(settings=settings, credentials=credentials):
                link = self.target.put_link(f"auth-{number}", self.version, credentials=credentials)
                ipxe = self.ipxe(link, **settings)
                self.assertEqual(ipxe.first, {"TargetPortalGroupTag": "1", "TargetAlias": f"auth-{number}",
                                              "AuthMethod": chosen})
                self.open_disk(ipxe)

    def test_refusals(self):
        open_link = self.target.put_link("open", self.version, credentials=[])
        rows = (
            ("no user name", self.link, {"username": None}, 0x0201),
            ("wrong secret", self.link, {"secret": "wrong-secret-16b"}, 0x0201),
            ("a target that can prove nothing", open_link, {"mutual": ("room", "other-secret")}, 0x0201),
        )
        for what, link, settings, status in rows:
            with self.subTest(what), self.assertRaises(iscsi.LoginFailed) as failed:
                self.ipxe(link, **settings)
            self.assertEqual(hex(failed.exception.status), hex(status))
        stranger = Ipxe(self.target.portal, "iqn.2010-04.org.ipxe:stranger")
        self.addCleanup(stranger.close)
        with self.assertRaises(iscsi.LoginFailed) as failed:
            stranger.log_in(self.link["iqn"], "user", target.SECRET)
        self.assertEqual(hex(failed.exception.status), "0x202")

    def test_a_redirect_is_an_address_ipxe_can_split(self):
        second = f"127.0.0.1:{self.second_port}"
        for permanent, status in ((False, 0x0101), (True, 0x0102)):
            self.check(self.target.api.put(f"/links/{self.link['id']}/redirect",
                                           {"portal": second, "permanent": permanent}), 200)
            with self.assertRaises(iscsi.LoginFailed) as failed:
                self.ipxe()
            self.assertEqual(failed.exception.status, status)
            # It takes all behind the first colon for the port's digits: no portal group tag here (13.8).
            host, port = failed.exception.address.split(":", 1)
            self.assertEqual((host, port), ("127.0.0.1", str(self.second_port)))
            self.open_disk(self.connect(f"{host}:{port}").log_in(self.link["iqn"], "user", target.SECRET))


class Boot(Case):
    def test_two_logins_and_the_system_share_one_disk(self):
        boot = self.target.boot(self.link)
        who = {"username": boot["username"], "secret": boot["secret"]}
        first = self.ipxe(**who)
        self.open_disk(first)
        second = self.ipxe(**who)
        self.open_disk(second)
        self.assertNotEqual(first.isid, second.isid)
        self.good(second.exchange(write_10(8, 1), data=b"s" * 512))
        self.assertEqual(self.good(first.exchange(read_10(8, 1), 512)), b"s" * 512)
        system = self.system(self.link, boot)
        self.assertEqual(system.read(8, 1), b"s" * 512)
        # iBFT boots hand over without an end of the firmware's sessions.
        self.assertEqual(self.good(first.exchange(read_10(9, 1), 512)), self.image[9 * 512:10 * 512])
        view = self.target.view(self.link)
        self.assertEqual(view["generation"], boot["generation"])
        self.assertEqual(sorted(session["isid"] for session in view["sessions"]),
                         sorted([first.isid.hex(), second.isid.hex(), LINUX_ISID.hex()]))
        kinds = [event["kind"] for event in self.target.events() if event["generation"] == boot["generation"]]
        self.assertEqual([kind for kind in kinds if kind.endswith("login")], ["login", "ipxe_login", "os_login"])

    def test_reads_keep_to_its_segment(self):
        ipxe = self.ipxe()
        self.open_disk(ipxe)
        for cdb, lba, count in ((read_10(0, 1), 0, 1), (read_10(1, 127), 1, 127), (read_16(5, 1024), 5, 1024)):
            reply = ipxe.exchange(cdb, count * 512)
            self.assertEqual(self.good(reply), self.image[lba * 512:(lba + count) * 512])
            self.assertEqual(reply.residual, ())
            self.assertTrue(all(len(pdu.data) <= 8192 for pdu in reply.data_in))
        reply = ipxe.exchange(read_10(0, 1), 4096)
        self.assertEqual((self.good(reply, 512), reply.residual), (self.image[:512], (UNDERFLOW, 3584)))

    def test_writes_wait_for_each_r2t(self):
        ipxe = self.ipxe()
        self.open_disk(ipxe)
        for size in (512, 65536, MIB):
            data = os.urandom(size)
            reply = ipxe.exchange(write_10(16, size // 512), data=data)
            self.good(reply)
            self.assertEqual(reply.r2ts[0].u32(40), 0)  # nothing is sent unasked
            self.assertEqual(self.good(ipxe.exchange(read_10(16, size // 512), size)), data)

    def test_one_r2t_at_a_time(self):
        ipxe, data = self.ipxe(), os.urandom(MIB)
        self.open_disk(ipxe)
        command = ipxe.command_pdu(write_10(0, 2048), 0, data, 0, b"")
        ipxe.send(command)
        sent = 0
        while (pdu := ipxe.receive()).opcode == iscsi.R2T:
            # An echo that comes before the next R2T: there is no other one on the way.
            echo = iscsi.make_pdu(iscsi.NOP_OUT, 0x80, True, b"?")
            echo.put32(16, ipxe.tag()).put32(20, iscsi.NO_TAG).put32(24, ipxe.cmd_sn).put32(28, ipxe.exp_stat_sn)
            ipxe.send(echo)
            answer = ipxe.receive()
            self.assertEqual((answer.opcode, answer.itt), (iscsi.NOP_IN, echo.itt))
            self.assertEqual(pdu.u32(40), sent)
            ipxe.send_part(command, data, pdu.u32(40), pdu.u32(44), pdu.u32(20), 8192)
            sent += pdu.u32(44)
        self.assertEqual((sent, pdu.opcode, pdu.bhs[3]), (MIB, iscsi.SCSI_RESPONSE, 0))

    def test_a_menu_that_waits_before_the_boot_keeps_its_disk(self):
        """A prepared boot that nobody logs in to takes nothing from the session that holds the disk."""
        boot = self.target.boot(self.link)
        ipxe = self.ipxe(username=boot["username"], secret=boot["secret"])
        self.open_disk(ipxe)
        self.target.boot(self.link)
        self.assertEqual(self.good(ipxe.exchange(read_10(0, 1), 512)), self.image[:512])


class Silence(Case):
    """It answers no ping: kept while it alone holds the disk, gone once the system has taken over."""

    def test_it_stays_while_alone_and_goes_when_the_system_is_in(self):
        alone = self.target.put_link("pc-002", self.version, initiators=[CLIENT])
        boots = {link["id"]: self.target.boot(link) for link in (alone, self.link)}
        sessions = {}
        for link in (alone, self.link):
            boot = boots[link["id"]]
            who = {"link": link, "username": boot["username"], "secret": boot["secret"]}
            sessions[link["id"]] = [self.ipxe(**who), self.ipxe(**who)]
        for pair in sessions.values():
            for ipxe in pair:
                ipxe.until_ping()
        system = self.system(self.link, boots[self.link["id"]])

        def only_the_system_is_left():
            # Reads, and so answers the pings that came meanwhile.
            self.assertEqual(system.read(0, 1), self.image[:512])
            return [session["isid"] for session in self.target.view(self.link)["sessions"]] == [LINUX_ISID.hex()]

        processes.wait_until(only_the_system_is_left, "the firmware's sessions are reaped", 150, step_seconds=0.5)
        for ipxe in sessions[self.link["id"]]:
            self.assertTrue(ipxe.is_closed())
        ends = [event["data"] for event in self.target.events(kind="session_end")]
        self.assertEqual([end["why"] for end in ends], ["timeout", "timeout"])
        # The others have been silent for longer, and hold a disk that nobody took over.
        for ipxe in sessions[alone["id"]]:
            self.open_disk(ipxe)
            self.assertEqual(self.good(ipxe.exchange(read_10(0, 1), 512)), self.image[:512])
        self.assertEqual(len(self.target.view(alone)["sessions"]), 2)


if __name__ == "__main__":
    unittest.main()
