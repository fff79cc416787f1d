"""Portals on IPv6: listening, discovery, URLs, boots, beside IPv4 and alone."""

import os
import unittest

from harness import iscsi, processes, target_case as target
from harness.target_case import run

MIB = 1 << 20


class Ipv6(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.v6_port = processes.free_port()
        self.image = os.urandom(MIB)

    def start(self, *portals, advertise=None):
        arguments = [part for portal in portals for part in ("--portal", portal)]
        if advertise:
            arguments += ["--advertise", advertise]
        self.target = target.Target(self, *arguments).start()
        self.link = self.target.put_link("pc-001", self.target.import_image(self.image))

    def url(self, portal):
        return f"iscsi://user%{target.SECRET}@{portal}/{self.link['iqn']}/0"

    def read_whole(self, url):
        whole = self.folder / "read.raw"
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", url, whole)
        return whole.read_bytes()

    def test_libiscsi_uses_a_portal_of_ipv6_as_one_of_ipv4(self):
        v6 = f"[::1]:{self.v6_port}"
        self.start(v6)
        self.assertEqual(self.check(self.target.api.get("/status"), 200)["portals"], [self.target.portal, v6])
        self.assertEqual(self.read_whole(self.url(v6)), self.image)
        self.assertIn("Goldlink", run("iscsi-inq", self.url(v6)).stdout.title())
        # Each portal first names itself, then the other.
        for mine, other in ((v6, self.target.portal), (self.target.portal, v6)):
            listed = run("iscsi-ls", self.url(mine)).stdout
            self.assertIn(f"Target:{self.link['iqn']} Portal:{mine},1", listed)
            self.assertIn(f"{other},1", listed)
        event = self.target.wait_event("login")
        self.assertTrue(event["data"]["address"].startswith("[::1]:"), event)

    def test_a_portal_on_all_addresses_is_told_as_the_one_that_was_asked(self):
        self.start(f"[::]:{self.v6_port}")
        v6 = f"[::1]:{self.v6_port}"
        with iscsi.Initiator(v6) as initiator:
            initiator.login(self.link["iqn"], "user", target.SECRET)
            self.assertEqual(initiator.read(0, 8), self.image[:4096])
        listed = run("iscsi-ls", self.url(v6)).stdout
        self.assertIn(f"Portal:{v6},1", listed)
        self.assertNotIn("[::]", listed)
        # A booting machine is told of a portal of its own family.
        self.assertEqual(self.target.boot(self.link, client_address="::1")["portal"], v6)
        self.assertEqual(self.target.boot(self.link, client_address="127.0.0.1")["portal"], self.target.portal)

    def test_what_is_advertised_goes_to_boots_as_it_is(self):
        self.start(advertise="[2001:db8::5]:3260")
        self.assertEqual(self.target.boot(self.link)["portal"], "[2001:db8::5]:3260")

    def test_logins_of_an_ipv6_address_are_refused_by_name_too(self):
        v6 = f"[::1]:{self.v6_port}"
        self.start(v6)
        with iscsi.Initiator(v6) as initiator, self.assertRaises(iscsi.LoginFailed):
            initiator.login(self.link["iqn"], "user", "not the secret!!")
        event = self.target.wait_event("login_refused")
        self.assertTrue(event["data"]["address"].startswith("[::1]:"), event)


if __name__ == "__main__":
    unittest.main()
