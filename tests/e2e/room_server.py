"""`goldlink up` in the server's namespace of a room, and the ways to talk to it from outside."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "deploy" / "demo"), str(REPOSITORY / "tests")]

from harness.processes import Api, binary, wait_until  # noqa: E402
from room import Room, RoomError  # noqa: E402,F401
from room.network import PREFIX_BITS, SERVER_ADDRESS  # noqa: E402,F401

START_TIMEOUT_SECONDS = 180
TASK_TIMEOUT_SECONDS = 300


def demo_image():
    """The path of the golden image, built when the cache does not hold it."""
    done = subprocess.run([str(REPOSITORY / "deploy" / "demo" / "build_image")], stdout=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode != 0:
        raise RoomError(f"build_image ended with {done.returncode}")
    return done.stdout.strip()


class RoomApi(Api):
    """The REST API as a machine of the room reaches it."""

    def __init__(self, room, address, token):
        super().__init__(address, headers={"Authorization": f"Bearer {token}"})
        self._room = room

    def _connection(self):
        room = self._room

        class Connection(http.client.HTTPConnection):
            def connect(self):
                with room.entered("server"):
                    super().connect()
        return Connection(self.address.removeprefix("http://"), timeout=self.timeout)


class RoomServer:
    """Owns the server of a room. stop() ends it and says whether that went cleanly."""

    def __init__(self, room, state_dir, addresses=(SERVER_ADDRESS,)):
        self._room = room
        self.state_dir = pathlib.Path(state_dir)
        self._up = room.start("server", "up", [
            binary("goldlink"), "up", "--state-dir", str(self.state_dir), "--pxe", "proxy",
            "--interface", room.server_interface,
            *(part for address in addresses for part in ("--portal", f"{address}:3260"))])
        ready = self._up.wait_for(self._ready_line, "`ready` line", START_TIMEOUT_SECONDS)
        self.url = f"http://{SERVER_ADDRESS}:{ready.rpartition(':')[2]}"
        self.token = (self.state_dir / "admin.token").read_text().strip()
        self.api = RoomApi(room, self.url, self.token)
        self.target = Api(f"unix:{self.state_dir}/run/target.sock")

    def _ready_line(self):
        found = re.search(r"^ready (\S+)$", self.log(), re.MULTILINE)
        return found and found[1]

    def log(self):
        return pathlib.Path(self._up.log_path).read_text(errors="replace")

    def get(self, path):
        """A REST resource; AssertionError with the problem when there is none."""
        answer = self.api.get(f"/api/v1{path}")
        assert answer.status == 200, f"GET {path}: {answer}"
        return answer.json

    def cli(self, *arguments):
        """Runs a verb of the CLI and returns its JSON."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GOLDLINK_")}
        done = subprocess.run(
            self._room.inside("server", [binary("goldlink"), *map(str, arguments), "--json"]),
            env={**clean, "GOLDLINK_URL": self.url, "GOLDLINK_TOKEN": self.token},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TASK_TIMEOUT_SECONDS,
            check=False)
        assert done.returncode == 0, f"goldlink {' '.join(map(str, arguments))} ended with " \
                                     f"{done.returncode}:\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def stages(self, client):
        """The stages of a client's last boot, as [(stage, after_ms)]."""
        boot = self.get(f"/clients/{client}")["last_boot"]
        return [(stage["stage"], stage["after_ms"]) for stage in boot["stages"]] if boot else []

    def children(self):
        """Name to pid of what `goldlink up` runs now."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.state_dir / "run" / "children").read_text().splitlines()
            return {name: int(pid) for name, pid, _ in (line.split() for line in lines)}
        return {}

    def kill_target(self):
        """SIGKILL, as a crash would end it; returns when another serves in its place."""
        killed = self.children()["goldlink-target"]
        os.kill(killed, signal.SIGKILL)

        def replaced():
            if self.children().get("goldlink-target") in (None, killed):
                return False
            with contextlib.suppress(OSError):
                return self.target.get("/status").status == 200
            return False
        wait_until(replaced, "another goldlink-target", 60)

    @contextlib.contextmanager
    def without_registry(self):
        """The manager and its database are killed, and nobody starts them again until the end."""
        supervisor = self._up.pid
        os.kill(supervisor, signal.SIGSTOP)
        try:
            for name, pid in self.children().items():
                if name in ("goldlink-manager", "postgres"):
                    os.kill(pid, signal.SIGKILL)
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)
        wait_until(self._healthy, "the manager and its database back", 120)

    def _healthy(self):
        with contextlib.suppress(OSError):
            answer = self.api.get("/api/v1/health")
            return answer.status == 200 and answer.json["status"] == "ok"
        return False

    def target_events(self, kind, link_id):
        events = self.target.get("/events?after=0&wait_seconds=0").json["events"]
        return [event for event in events if event["kind"] == kind and event["link_id"] == link_id]

    def stop(self):
        code = self._up.stop(timeout_seconds=60)
        assert code == 0, f"goldlink up ended with {code}:\n{self.log()[-8000:]}"
