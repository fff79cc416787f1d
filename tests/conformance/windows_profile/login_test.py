"""Windows' logins: both stages, CHAP, discovery, and an ISID that comes again."""

import unittest

from harness import iscsi, target_case as target
from windows import Case, FULL_FEATURE, INITIATOR, ISID, OPERATIONAL, SECURITY


class Login(Case):
    def open_link(self):
        return self.target.put_link("open", self.version, credentials=[])

    def test_both_stages_without_chap(self):
        link = self.open_link()
        windows = self.connect()
        first = windows.stage_1(link["iqn"])
        # 13.9: the portal group tag is in the first response, and nothing but offered and declared keys.
        self.assertEqual(first.text(), {"TargetPortalGroupTag": "1", "TargetAlias": "open", "AuthMethod": "None"})
        self.assertEqual(first.flags, 0x80 | SECURITY << 2 | OPERATIONAL)
        self.assertEqual(first.u32(28), 1)  # ExpCmdSN: the login's CmdSN, which it does not use up
        last = windows.stage_2()
        self.assertEqual(last.flags, 0x80 | OPERATIONAL << 2 | FULL_FEATURE)
        self.assertNotIn("TargetPortalGroupTag", last.text())
        windows.pass_attentions()

    def test_text_ends_with_a_zero_and_has_no_empty_pair(self):
        windows = self.connect()
        windows.log_in(self.link["iqn"], "user", target.SECRET)
        for answer in windows.answers:
            if answer.data:
                self.assertEqual(answer.data[-1:], b"\0")  # 6.1
                self.assertNotIn(b"\0\0", answer.data)

    def test_chap(self):
        self.log_in()

    def test_mutual_chap(self):
        link = self.target.put_link("mutual", self.version, credentials=[
            {"username": "user", "secret": target.SECRET, "mutual_username": "room", "mutual_secret": "other-secret"}])
        windows = self.connect()
        windows.log_in(link["iqn"], "user", target.SECRET, mutual=("room", "other-secret"))
        windows.pass_attentions()

    def test_secrets_of_12_to_16_bytes(self):
        for length in (12, 13, 16):
            with self.subTest(length=length):
                secret = "s3cret-of-a-disk"[:length]
                link = self.target.put_link(f"secret-{length}", self.version,
                                            credentials=[{"username": "user", "secret": secret}])
                self.log_in(link, secret=secret)

    def test_a_boots_own_secret_is_one_that_windows_takes(self):
        boot = self.target.boot(self.link)
        self.assertTrue(12 <= len(boot["secret"].encode()) <= 16, boot)
        self.log_in(username=boot["username"], secret=boot["secret"])

    def test_refusals_have_the_status_windows_reports(self):
        rows = (
            # what, target, user, secret, status (11.13.5)
            ("wrong secret", self.link["iqn"], "user", "wrong-secret-16b", 0x0201),
            ("wrong user", self.link["iqn"], "nobody", target.SECRET, 0x0201),
            ("no CHAP where it is asked", self.link["iqn"], None, None, 0x0201),
            ("no such target", "iqn.2026-11.io.goldlink:none", "user", target.SECRET, 0x0203),
        )
        for what, iqn, user, secret, status in rows:
            with self.subTest(what):
                windows = self.connect()
                with self.assertRaises(iscsi.LoginFailed) as failed:
                    windows.log_in(iqn, user, secret)
                self.assertEqual(hex(failed.exception.status), hex(status))
                self.assertTrue(windows.is_closed())

    def discover(self, username=None, secret=None):
        """The text of SendTargets=All in a discovery session of Windows'."""
        windows = self.connect()
        windows.stage_1(None, "CHAP" if username else "None", discovery=True)
        if username:
            windows.prove(username, secret)
        windows.stage_2(discovery=True)
        answer = windows.send_targets_all()
        self.assertEqual((answer.opcode, answer.flags, answer.u32(20)), (iscsi.TEXT_RESPONSE, 0x80, iscsi.NO_TAG))
        return answer.text()

    def test_discovery_names_the_portal_group(self):
        # 13.8: address, port and ",1"; nothing else was asked for.
        self.assertEqual(self.discover("user", target.SECRET),
                         {"TargetName": self.link["iqn"], "TargetAddress": f"{self.target.portal},1"})

    def test_discovery_without_chap_shows_what_asks_for_none(self):
        link = self.open_link()
        self.assertEqual(self.discover(), {"TargetName": link["iqn"], "TargetAddress": f"{self.target.portal},1"})


class Reinstatement(Case):
    """RFC 7143 6.3.5: Windows' ISID is the same after every boot; a login with it ends the session before."""

    def test_the_same_isid_takes_the_old_sessions_place(self):
        old = self.log_in()
        self.good(old.exchange(bytes([0x16, 0, 0, 0, 0, 0])))  # RESERVE(6)
        new = self.log_in(attentions=False)
        self.assertTrue(old.is_closed())
        self.assertNotEqual((new.name, new.tsih), (old.name, old.tsih))
        # SAM-5 6.3.4: the loss of the nexus releases what it reserved, and is told.
        self.assertEqual([(key, asc) for key, asc, _ in new.pass_attentions()], [(6, 0x29)])
        other = self.log_in(name="iqn.1991-05.com.microsoft:other")
        self.good(other.exchange(bytes([0x16, 0, 0, 0, 0, 0])))
        sessions = self.target.view(self.link)["sessions"]
        self.assertEqual(sorted((session["initiator_name"], session["isid"]) for session in sessions),
                         sorted([(INITIATOR, ISID.hex()), (other.name, ISID.hex())]))

    def test_a_reboot_with_the_same_isid_gets_the_new_generation(self):
        boots = []
        for number in range(3):
            boot = self.target.boot(self.link)
            windows = self.log_in(username=boot["username"], secret=boot["secret"])
            block = self.good(windows.exchange(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 512))
            self.assertEqual(block, self.image[:512], f"boot {number} begins with the disk of the one before")
            self.good(windows.exchange(bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]), data=b"%d" % number * 512))
            if boots:
                self.assertTrue(boots[-1].is_closed())
            boots.append(windows)
        self.assertEqual(len(self.target.view(self.link)["sessions"]), 1)


if __name__ == "__main__":
    unittest.main()
