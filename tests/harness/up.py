"""`goldlink up` under test, and the CLI that talks to it."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

from .processes import BIN, Api, Daemon, binary, free_port, wait_until

CLI_TIMEOUT_SECONDS = 120
POSTGRES = "postgres"


class Done:
    """How a run of the CLI ended."""

    def __init__(self, completed):
        self.code, self.out, self.err = completed.returncode, completed.stdout, completed.stderr

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit code {self.code}\nstdout: {self.out}\nstderr: {self.err}"


def run_cli(*arguments, environment=None, url=None, token=None, timeout_seconds=CLI_TIMEOUT_SECONDS):
    """Runs `goldlink` with nothing of the caller's Goldlink settings."""
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith("GOLDLINK_") and name != "STATE"}
    if url:
        clean["GOLDLINK_URL"] = url
    if token:
        clean["GOLDLINK_TOKEN"] = token
    return Done(subprocess.run([binary("goldlink"), *map(str, arguments)], capture_output=True, text=True,
                               stdin=subprocess.DEVNULL, env={**clean, **(environment or {})},
                               timeout=timeout_seconds, check=False))


class Up(Daemon):
    """`goldlink up` on a state folder and free ports of loopback."""

    def __init__(self, folder, arguments=(), state_dir=None, **options):
        self.state_dir = pathlib.Path(state_dir or pathlib.Path(folder) / "state")
        self.listen = f"127.0.0.1:{free_port()}"
        self.portal = f"127.0.0.1:{free_port()}"
        super().__init__("goldlink", ["up", "--state-dir", self.state_dir, "--listen", self.listen,
                                      "--portal", self.portal, *arguments], folder, **options)

    @property
    def url(self):
        return self.ready_words[0]

    @property
    def token_path(self):
        return self.state_dir / "admin.token"

    @property
    def token(self):
        return self.token_path.read_text().strip()

    def cli(self, *arguments, **options):
        return run_cli(*arguments, url=self.url, token=self.token, **options)

    def api(self):
        return Api(self.url, headers={"Authorization": f"Bearer {self.token}"})

    def healthy(self):
        """The answer of /health once every part works, else None."""
        try:
            answer = Api(self.url, timeout_seconds=5).get("/api/v1/health")
        except OSError:
            return None
        return answer.json if answer.status == 200 and answer.json["status"] == "ok" else None

    def children(self):
        """Name to pid of what it runs now."""
        lines = (self.state_dir / "run" / "children").read_text().splitlines()
        return {name: int(pid) for name, pid, _ in (line.split() for line in lines)}

    def processes(self):
        """The pids of all living processes of this state folder, from their command lines and working
        folders (PostgreSQL's backends rename themselves)."""
        found = set()
        wanted = str(self.state_dir).encode()
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                    continue
                named = wanted in (entry / "cmdline").read_bytes()
                inside = os.readlink(entry / "cwd").startswith(str(self.state_dir))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if named or inside:
                found.add(int(entry.name))
        return found

    def kill_all(self):
        """SIGKILL to every process of it, as a power cut would end them."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.wait()
        wait_until(lambda: not self.processes(), "all processes gone")


def module_folder():
    """A temporary folder until the calling test module ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-"))
    unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


def module_up(folder, arguments=()):
    """A running `goldlink up` until the calling test module ends."""
    up = Up(folder, arguments)
    unittest.addModuleCleanup(up.stop)
    up.start()
    wait_until(up.healthy, "every part works")
    return up


def all_built():
    return all((BIN / name).exists() for name in
               ("goldlink", "goldlink-target", "goldlink-manager", "goldlink-pxe"))
