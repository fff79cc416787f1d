"""`goldlink up` where network boot cannot start: disks and API are served without it."""

import pathlib
import socket
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.processes import TestCase, wait_until  # noqa: E402
from harness.up import Up  # noqa: E402
from pxe_lan import Lan, inside, run  # noqa: E402

ADDRESS = "10.77.0.1"


class WithoutNetworkBoot(TestCase):
    def setUp(self):
        super().setUp()
        self.lan = Lan()
        self.addCleanup(self.lan.close)
        self.host = self.lan.host("srv", f"{ADDRESS}/24")
        self.up = Up(self.folder, ["--pxe", "proxy", "--interface", "eth0"],
                     wrapper=("ip", "netns", "exec", self.host))
        self.up.ready_words = [f"http://{self.up.listen}"]
        self._daemons.append(self.up)
        self.addCleanup(self.up.stop)

    def health(self):
        with inside(self.host):
            try:
                return self.up.api().get("/api/v1/health").json
            except OSError:
                return None

    def serves_without_network_boot(self):
        def so():
            health = self.health()
            return health and health["database"] == "ok" and health["target"] == "ok" and health["pxe"] != "ok"
        wait_until(so, "disks and API are served", 60)
        with inside(self.host), socket.create_connection(self.up.portal.split(":"), 5):
            pass

    def all_is_well(self):
        wait_until(lambda: (self.health() or {}).get("status") == "ok", "network boot came too", 60)

    def test_its_port_is_taken_or_its_interface_gone(self):
        self.up.start()
        self.all_is_well()
        self.up.stop()
        with inside(self.host):
            holder = socket.create_server((ADDRESS, 8081))
        with holder:
            self.up.start(wait_ready=False)
            self.serves_without_network_boot()
            self.assertIn("port 10.77.0.1:8081 is in use by", self.up.log())
        self.all_is_well()
        self.up.stop()
        run("ip", "-n", self.host, "link", "delete", "eth0")
        self.up.start(wait_ready=False)
        self.serves_without_network_boot()
        self.assertIn("network boot does not start yet", self.up.log())
        self.lan.plug(self.host, "eth0", f"{ADDRESS}/24")
        self.all_is_well()
        with inside(self.host), socket.create_connection((ADDRESS, 8081), 5):
            pass


if __name__ == "__main__":
    unittest.main()
