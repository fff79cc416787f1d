"""Links that send their logins elsewhere: to another target, to another portal of the same one.

libiscsi (qemu-img, iscsi-ls) follows as initiators in the field do; the raw initiator shows the bytes.
"""

import os
import unittest

from harness import iscsi, processes, target_case as target
from harness.target_case import run

MIB = 1 << 20


class Redirects(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.second_port = processes.free_port()
        self.target = target.Target(self, "--portal", f"127.0.0.1:{self.second_port}").start()
        self.image = os.urandom(MIB)
        self.version = self.target.import_image(self.image)
        self.link = self.target.put_link("pc-001", self.version)

    def redirect(self, portal, permanent=False):
        view = self.check(self.target.api.put(f"/links/{self.link['id']}/redirect",
                                              {"portal": portal, "permanent": permanent}), 200)
        self.assertEqual(view["redirect"], {"portal": portal, "permanent": permanent})

    def login_status(self):
        with iscsi.Initiator(self.target.portal, isid=iscsi.random_isid()) as initiator:
            try:
                initiator.login(self.link["iqn"], "user", target.SECRET)
            except iscsi.LoginFailed as failed:
                return failed.status
            return 0

    def read_whole(self):
        """The disk's content, by libiscsi."""
        whole = self.folder / "read.raw"
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", self.target.url(self.link), whole)
        return whole.read_bytes()

    def other_target(self):
        """A second target with the same link over another image."""
        folder = self.folder
        self.folder = folder / "other"
        self.folder.mkdir()
        other = target.Target(self).start()
        self.folder = folder
        image = os.urandom(MIB)
        version = other.import_image(image)
        other.put_link("pc-001", version)
        return other, image

    def test_libiscsi_follows_to_another_target_and_comes_back(self):
        other, other_image = self.other_target()
        self.assertEqual(self.read_whole(), self.image)
        self.redirect(other.portal)
        self.assertEqual(hex(self.login_status()), "0x101")
        self.assertEqual(self.read_whole(), other_image)
        # libiscsi does not follow for good; the address is there for those who do.
        self.redirect(other.portal, True)
        with iscsi.Initiator(self.target.portal) as initiator:
            initiator.send(initiator.login_pdu(0, 1, False, {
                "InitiatorName": initiator.name, "TargetName": self.link["iqn"], "AuthMethod": "CHAP"}))
            answer = initiator.receive()
            self.assertEqual(answer.bhs[36:38], b"\x01\x02")
            self.assertEqual(answer.text(), {"TargetAddress": other.portal})
            self.assertTrue(initiator.is_closed())
        self.check(self.target.api.delete(f"/links/{self.link['id']}/redirect"), 204)
        self.assertEqual(self.login_status(), 0)
        self.assertEqual(self.read_whole(), self.image)
        self.assertIsNone(self.target.view(self.link)["redirect"])
        self.assertEqual(self.target.events(kind="login_refused"), [])

    def test_one_portal_sends_to_the_other_and_that_one_serves(self):
        second = f"127.0.0.1:{self.second_port}"
        self.redirect(second)
        self.assertEqual(self.read_whole(), self.image)
        self.redirect(second, True)
        self.assertEqual(hex(self.login_status()), "0x102")
        with iscsi.Initiator(second) as initiator:
            initiator.login(self.link["iqn"], "user", target.SECRET)
            self.assertEqual(initiator.read(0, 8), self.image[:4096])
        listed = run("iscsi-ls", self.target.url(self.link)).stdout
        self.assertIn(f"127.0.0.1:{self.second_port},1", listed)
        self.assertNotIn(self.target.portal, listed)

    def test_a_redirect_survives_restarts_and_the_registry(self):
        self.redirect("127.0.0.1:1", True)
        self.target.restart_after_kill()
        self.assertEqual(hex(self.login_status()), "0x102")
        # What the registry sends knows nothing of redirects, and leaves them.
        body = self.target.link_body("pc-001", self.version)
        self.check(self.target.api.put(f"/links/{self.link['id']}", body), 200)
        self.assertEqual(hex(self.login_status()), "0x102")

    def test_what_is_no_redirect_is_refused(self):
        path = f"/links/{self.link['id']}/redirect"
        for body in ({}, {"portal": "0.0.0.0:3260"}, {"portal": "10.0.0.1:0"}, {"portal": "elsewhere:3260"},
                     {"portal": "10.0.0.1:3260", "permanent": "yes"}, {"portal": "10.0.0.1:3260", "more": 1}):
            with self.subTest(body=body):
                self.check(self.target.api.put(path, body), 400)
        self.check(self.target.api.put("/links/none/redirect", {"portal": "10.0.0.1:3260"}), 404)
        self.assertEqual(self.login_status(), 0)


if __name__ == "__main__":
    unittest.main()
