"""Each process killed again and again while twenty clients write: nothing acknowledged is lost, nothing torn or
another's is read, and every client is served again.

GOLDLINK_KILLS says how often (20), GOLDLINK_SEED repeats what the writers choose."""

import os
import signal
import unittest

from harness.block_writer import Writers
from harness.processes import wait_until
from harness.up import module_folder, module_up
from pxe_lan import Lan, inside

CLIENTS = 20
KILLS = int(os.environ.get("GOLDLINK_KILLS", "20"))

up = writers = None


def setUpModule():
    global up, writers
    # A network of its own, which has DHCP's port free. What is started from here on lives in it.
    lan = Lan()
    unittest.addModuleCleanup(lan.close)
    unittest.enterModuleContext(inside(lan.host("server", "10.77.0.1/24")))
    up = module_up(module_folder(), ["--pxe", "proxy", "--interface", "eth0"])
    done = up.cli("image", "create", "blank", "--size", "64M")
    assert done.code == 0, done
    links = []
    for number in range(CLIENTS):
        name = f"PC-{number:03}"
        done = up.cli("client", "add", name, "--mac", f"52:54:00:00:01:{number:02x}")
        assert done.code == 0, done
        done = up.cli("link", "create", "--client", name, "--image", "blank", "--policy", "keep", "--json")
        assert done.code == 0, done
        links.append(done.json["id"])
    wait_until(lambda: all(up.api().get(f"/api/v1/links/{link}").json["state"] == "ready" for link in links),
               "every link is ready")
    # They go on from test to test; each compares its whole disk at the end.
    writers = Writers([up.cli("link", "show", link, "--json").json for link in links]).start()
    unittest.addModuleCleanup(writers.finish)
    writers.wait_progress()


class Kills(unittest.TestCase):
    def kill_child(self, name):
        for _ in range(KILLS):
            pid = up.children()[name]
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: up.children().get(name) not in (None, pid), f"{name} runs again")
            writers.wait_progress()

    def test_the_target(self):
        self.kill_child("goldlink-target")
        self.assertTrue(all(writer.reconnects for writer in writers.all))

    def test_the_manager(self):
        self.kill_child("goldlink-manager")

    def test_the_network_boot(self):
        self.kill_child("goldlink-pxe")

    def test_postgresql(self):
        self.kill_child("postgres")

    def test_all_of_it(self):
        for _ in range(KILLS):
            up.kill_all()
            up.start()
            writers.wait_progress()
        wait_until(up.healthy, "every part works")


if __name__ == "__main__":
    unittest.main()
