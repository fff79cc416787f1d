"""`goldlink up`: the first start, the next one, the end, and what it refuses to start on."""

import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import unittest

from harness.processes import TestCase, binary, free_port, wait_until
from harness.up import Up, run_cli


class Start(TestCase):
    def up(self, *arguments, **options):
        up = Up(self.folder, arguments, **options)
        self._daemons.append(up)
        self.addCleanup(up.stop)
        return up

    def refused(self, up):
        """Starts an `up` that must end by itself with 1, and returns what it said."""
        up.start(wait_ready=False)
        self.assertEqual(up.wait(60), 1, up.log())
        return up.log()

    def test_first_start_serves_and_the_next_one_has_all_state(self):
        up = self.up()
        up.start()
        self.assertEqual(up.url, f"http://{up.listen}")
        self.assertEqual(stat.S_IMODE(up.token_path.stat().st_mode), 0o600)
        health = wait_until(up.healthy, "every part works")
        self.assertEqual(health["database"], "ok")
        self.assertEqual(health["pxe"], "off")
        self.assertEqual(set(up.children()), {"postgres", "goldlink-target", "goldlink-manager"})
        token = up.token
        self.assertEqual(up.cli("client", "add", "PC-001", "--mac", "52:54:00:00:00:01").code, 0)
        up.stop()
        self.assertEqual(up.processes(), set())

        up.start()
        self.assertEqual(up.token, token)
        shown = up.cli("client", "show", "PC-001", "--json")
        self.assertEqual(shown.code, 0, shown)
        self.assertEqual(shown.json["macs"], ["52:54:00:00:00:01"])

    def test_ctrl_c_stops_everything_cleanly(self):
        up = self.up()
        up.start()
        started = up.processes()
        self.assertGreaterEqual(len(started), 4)
        os.kill(up.pid, signal.SIGINT)
        self.assertEqual(up.wait(60), 0)
        self.assertEqual(up.processes(), set())
        self.assertIn("asked by Ctrl-C", up.log())
        self.assertIn("database system is shut down", up.log())
        self.assertNotIn("was killed by", up.log())

    def test_the_database_listens_on_no_network_port_and_lets_no_stranger_in(self):
        up = self.up()
        up.start()
        postgres = up.children()["postgres"]
        listening = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, check=True).stdout
        self.assertNotIn(f"pid={postgres},", listening)
        sockets = up.state_dir / "run" / "postgresql"
        self.assertEqual(stat.S_IMODE(sockets.stat().st_mode), 0o700)

    def test_a_second_up_on_the_same_state_is_refused(self):
        up = self.up()
        up.start()
        said = self.refused(self.up(state_dir=up.state_dir))
        self.assertIn(f"another 'goldlink up' (pid {up.pid})", said)
        self.assertIsNotNone(up.healthy(), "the first one serves on")

    def test_a_port_in_use_is_refused_by_name(self):
        for option in ("--listen", "--portal"):
            with socket.create_server(("127.0.0.1", 0)) as holder:
                port = holder.getsockname()[1]
                up = self.up(option, f"127.0.0.1:{port}")
                if option == "--listen":
                    index = up.arguments.index("--listen")
                    del up.arguments[index:index + 2]
                said = self.refused(up)
            self.assertIn(f"port 127.0.0.1:{port} is in use by python3 (pid {os.getpid()})", said)
            self.assertEqual(up.processes(), set())

    def test_a_portal_of_ipv6_serves_a_lease_by_its_url(self):
        port = free_port()
        up = self.up()
        up.arguments[up.arguments.index("--portal") + 1] = f"[::1]:{port}"
        up.start()
        wait_until(up.healthy, "every part works")
        disk = self.folder / "small.raw"
        disk.write_bytes(os.urandom(1 << 20))
        done = up.cli("image", "import", "small", disk, "--format", "raw")
        self.assertEqual(done.code, 0, done)
        done = up.cli("link", "create", "--lease", "10m", "--image", "small", "--json")
        self.assertEqual(done.code, 0, done)
        self.assertEqual(done.json["portal"], f"[::1]:{port}")
        self.assertIn(f"@[::1]:{port}/", done.json["url"])
        read = self.folder / "read.raw"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", done.json["url"], read], check=True,
                       timeout=60)
        self.assertEqual(read.read_bytes(), disk.read_bytes())

    def test_a_state_folder_that_cannot_be_used_is_refused(self):
        (self.folder / "file").write_text("x")
        said = self.refused(self.up(state_dir=self.folder / "file"))
        self.assertIn(f"cannot use {self.folder / 'file'} as the state folder", said)
        self.assertIn("--state-dir", said)

    def test_without_postgresql_it_says_what_to_install(self):
        up = self.up(wrapper=["unshare", "--mount", "--", "sh", "-c",
                              "mount -t tmpfs none /usr/lib/postgresql && exec \"$@\"", "sh"])
        said = self.refused(up)
        self.assertIn("apt-get install postgresql", said)
        self.assertIn("--database-url", said)

    def test_a_missing_program_is_named(self):
        programs = self.folder / "bin"
        programs.mkdir()
        shutil.copy2(binary("goldlink"), programs / "goldlink")
        done = subprocess.run([programs / "goldlink", "up", "--state-dir", self.folder / "state", "--listen",
                               "127.0.0.1:0", "--portal", "127.0.0.1:0"], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{programs}/goldlink-target is missing", done.stderr)

    def test_without_root_it_runs_as_the_user_who_starts_it(self):
        os.chmod(self.folder, 0o755)
        home = self.folder / "home"
        home.mkdir()
        shutil.chown(home, "nobody")
        up = self.up(state_dir=home / "state",
                     wrapper=["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"])
        up.start()
        wait_until(up.healthy, "every part works")
        self.assertEqual((up.state_dir / "postgres").stat().st_uid, home.stat().st_uid)

    def test_the_target_gets_the_options_that_are_its_own(self):
        up = self.up("--locked-memory", "64M", "--verify-every", "2.5", "--verify-rate", "1M", "--reserve", "2M",
                     "--boot-trace", "30", "--congestion-control", "system")
        up.start()
        words = pathlib.Path(f"/proc/{up.children()['goldlink-target']}/cmdline").read_text().split("\0")
        given = dict(zip(words, words[1:]))
        for name, value in {"--locked-memory": 64 << 20, "--verify-every": "2.5", "--verify-rate": 1 << 20,
                            "--reserve": 2 << 20, "--boot-trace": 30, "--congestion-control": "system"}.items():
            self.assertEqual(given[name], str(value))

    def test_usage_is_refused_before_anything_is_touched(self):
        for arguments, named in ((("--pxe", "proxy"), "--interface"), (("--verify-every", "9999"), "--verify-every"),
                                 (("--locked-memory", "much"), "--locked-memory"), (("--verify-rate", "1"), "--verify-rate")):
            done = run_cli("up", "--state-dir", self.folder / "state", *arguments)
            self.assertEqual(done.code, 2, done)
            self.assertIn(named, done.err)
        self.assertFalse((self.folder / "state").exists())


if __name__ == "__main__":
    unittest.main()
