"""Starting, watching and ending the daemons under test.

Every test gets its own state folder and ports; a daemon counts as started when it prints `ready`.
Nothing sleeps a fixed time: wait_until polls a condition up to a deadline.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

BIN = pathlib.Path(os.environ.get("GOLDLINK_BIN", "build/dev/bin")).resolve()
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30
# Findings end the daemon with this code, which no daemon uses itself; stop() checks for it.
SANITIZER_EXIT_CODE = 99


def binary(name):
    """The path of a program of the build under test."""
    path = BIN / name
    if not path.exists():
        raise RuntimeError(f"{path} does not exist; build it, or set GOLDLINK_BIN")
    return str(path)


def free_port(kind=socket.SOCK_STREAM, host="127.0.0.1"):
    """A port that nobody holds now, below the range the kernel gives out by itself."""
    while True:
        port = 10000 + int.from_bytes(os.urandom(2), "big") % 20000
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
                return port
            except OSError:
                continue


def wait_until(condition, what, timeout_seconds=30, step_seconds=0.02):
    """Polls until condition() is true and returns its value; AssertionError names `what`."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds} s: {what}")
        time.sleep(step_seconds)


class Daemon:
    """A process under test: its stdout watched for `ready`, its stderr kept in a file.

    `ready_words` is what follows `ready` on its line (the URL of `goldlink up`)."""

    def __init__(self, name, arguments, log_folder, environment=None, wrapper=()):
        self.name = name
        self.arguments = [*wrapper, binary(name), *map(str, arguments)]
        self.log_path = pathlib.Path(log_folder) / f"{name}.log"
        self.environment = {**os.environ, **(environment or {})}
        for sanitizer in ("ASAN", "UBSAN", "TSAN", "LSAN"):
            key = f"{sanitizer}_OPTIONS"
            self.environment[key] = ":".join(
                filter(None, [self.environment.get(key), f"exitcode={SANITIZER_EXIT_CODE}"]))
        self.process = None

    def start(self, wait_ready=True):
        assert self.process is None, f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env=self.environment, start_new_session=True)
        self._ready = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._read_output, args=(self.process.stdout,), daemon=True).start()
        if wait_ready:
            self.wait_ready()
        return self

    def _read_output(self, output):
        for line in output:
            words = line.split()
            if words[:1] == [b"ready"]:
                self.ready_words = [word.decode() for word in words[1:]]
                self._ready.set()
        self._ended.set()

    def wait_ready(self):
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._ready.wait(0.02):
            if self._ended.is_set() or time.monotonic() > deadline:
                code = self.process.poll()
                raise AssertionError(f"{self.name} did not get ready (exit code {code}):\n{self.log()}")

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait(self, timeout_seconds=STOP_TIMEOUT_SECONDS):
        """Waits for it to end by itself and returns its exit code."""
        code = self.process.wait(timeout_seconds)
        self.process.stdout.close()
        self.process = None
        return code

    def stop(self):
        """SIGTERM; it must end by itself and cleanly, sanitizers included."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end on SIGTERM:\n{self.log()}") from None
        if code != 0:
            raise AssertionError(f"{self.name} ended with {code}:\n{self.log()[-20000:]}")

    def kill(self):
        """SIGKILL, as a crash or a power cut of the process would."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.wait()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:2000]!r}"


class Api:
    """A JSON-over-HTTP peer: "unix:/path" or "http://host:port"."""

    def __init__(self, address, headers=None, timeout_seconds=60):
        self.address, self.headers, self.timeout = str(address), dict(headers or {}), timeout_seconds

    def _connection(self):
        if self.address.startswith("unix:"):
            return UnixConnection(self.address[5:], self.timeout)
        return http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=self.timeout)

    def request(self, method, path, body=None, headers=None):
        """`body`: None, bytes, a file, or anything JSON can say."""
        if body is not None and not isinstance(body, (bytes, bytearray)) and not hasattr(body, "read"):
            body = json.dumps(body).encode()
        connection = self._connection()
        try:
            connection.request(method, path, body=body, headers={**self.headers, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def put(self, path, body=None, **options):
        return self.request("PUT", path, body, **options)

    def post(self, path, body=None, **options):
        return self.request("POST", path, body if body is not None else {}, **options)

    def delete(self, path, **options):
        return self.request("DELETE", path, **options)


class TestCase(unittest.TestCase):
    """A test with a folder of its own, removed at the end, and clean-up in reverse order.

    Kept where GOLDLINK_KEEP_STATE is set; the logs of its daemons are printed when it fails.
    """

    maxDiff = None

    def setUp(self):
        # Short: unix socket paths have 107 characters.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-"))
        self._daemons = []
        self.addCleanup(self._remove_folder)

    def _remove_folder(self):
        if os.environ.get("GOLDLINK_KEEP_STATE"):
            print(f"kept {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def daemon(self, name, arguments, **options):
        """A daemon that is stopped, and must end cleanly, when the test ends."""
        daemon = Daemon(name, arguments, self.folder, **options)
        self._daemons.append(daemon)
        self.addCleanup(daemon.stop)
        return daemon

    def run(self, result=None):
        problems = len(result.failures) + len(result.errors) if result else 0
        outcome = super().run(result)
        if result and len(result.failures) + len(result.errors) > problems:
            for daemon in getattr(self, "_daemons", []):
                print(f"--- {self.id()}: end of the log of {daemon.name}\n{self._last_logs.get(daemon.name, '')}")
        return outcome

    def doCleanups(self):
        self._last_logs = {}
        for daemon in getattr(self, "_daemons", []):
            self._last_logs[daemon.name] = daemon.log()[-8000:]
        return super().doCleanups()

    def check(self, answer, status):
        """Asserts an Answer's status and returns its JSON (or None when it has no body)."""
        self.assertEqual(answer.status, status, answer)
        return answer.json if answer.body else None
