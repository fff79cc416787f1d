"""What the manager's suites share: one PostgreSQL per run, a database, fakes and a manager per class.

Every answer is checked against the OpenAPI document that the manager itself serves.
"""

import contextlib
import pathlib
import random
import shutil
import tempfile
import threading
import unittest

from harness.fake_daemons import FakePxe, FakeTarget
from harness.openapi import Contract
from harness.postgres import Postgres
from harness.processes import Answer, Api, Daemon, free_port, wait_until

BASE = "/api/v1"
_postgres = None
_databases = iter(range(1, 1_000_000))


def postgres():
    """The run's server, started at its first use and removed at the end of the module."""
    global _postgres
    if _postgres is None:
        _postgres = Postgres().start()
        unittest.addModuleCleanup(_forget_postgres)
    return _postgres


def _forget_postgres():
    global _postgres
    _postgres.remove()
    _postgres = None


class CheckedApi(Api):
    """Calls below /api/v1 whose answers must be as the document says; remembers what was asked."""

    def __init__(self, address, token, contract=None, seen=None, **options):
        super().__init__(address, {"Authorization": f"Bearer {token}"} if token else {}, **options)
        self.contract, self.seen = contract, seen if seen is not None else set()

    def request(self, method, path, body=None, headers=None):
        answer = super().request(method, BASE + path, body, headers)
        if self.contract is not None:
            name = self.contract.operation_of(method, path.split("?")[0])
            if name is not None:
                self.contract.check(name, answer)
                self.seen.add((name, "refused" if answer.status >= 400 else "done"))
        return answer

    def patch(self, path, body, **options):
        return self.request("PATCH", path, body, **options)

    def get_all(self, path):
        answer = self.get(path)
        assert answer.status == 200, answer
        return answer.json["items"]


class ManagerCase(unittest.TestCase):
    """A manager with a fake target and a fake pxe, shared by the tests of a class: they use names of
    their own (self.name)."""

    maxDiff = None
    with_pxe = True
    manager_options = ()

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.database = f"goldlink_{next(_databases)}"
        cls.database_url = postgres().create_database(cls.database)
        cls.target = FakeTarget(cls.folder / "target.sock").start()
        cls.addClassCleanup(cls.target.stop)
        cls.pxe = FakePxe(cls.folder / "pxe.sock").start()
        cls.addClassCleanup(cls.pxe.stop)
        cls.manager, cls.address, cls.token = cls.start_manager("manager")
        cls.contract = Contract(Api(cls.address).get(f"{BASE}/openapi.json").json)
        cls.seen = set()
        cls.api = cls.client(cls.token)

    @classmethod
    def start_manager(cls, name, database_url=None, wait_ready=True):
        """A manager of the class's fakes that must end cleanly; (daemon, address, admin token)."""
        port = free_port()
        state = cls.folder / name
        log_folder = cls.folder / f"{name}-log"
        log_folder.mkdir(exist_ok=True)
        arguments = ["--state-dir", state, "--listen", f"127.0.0.1:{port}", "--database-url",
                     database_url or cls.database_url, "--target-control", cls.target.address, *cls.manager_options]
        if cls.with_pxe:
            arguments += ["--pxe-control", cls.pxe.address]
        daemon = Daemon("goldlink-manager", arguments, log_folder)
        cls.addClassCleanup(daemon.stop)
        daemon.start(wait_ready)
        token_file = state / "admin-token"
        token = token_file.read_text().strip() if token_file.exists() else None
        return daemon, f"http://127.0.0.1:{port}", token

    @classmethod
    def client(cls, token, address=None):
        return CheckedApi(address or cls.address, token, cls.contract, cls.seen)

    @classmethod
    def client_of_role(cls, role):
        made = cls.api.post("/tokens", {"name": f"a-{role}", "role": role})
        assert made.status == 201, made
        return cls.client(made.json["token"])

    def setUp(self):
        self.name = f"n{random.getrandbits(40):x}"
        self.addCleanup(self._show_log)

    def _show_log(self):
        outcome = getattr(self, "_outcome", None)
        if outcome is not None and not outcome.success:
            print(f"--- log of the manager after {self.id()}:\n{self.manager.log()[-6000:]}")

    def check(self, answer, status, kind=None):
        """Asserts the status, and a problem's type; returns the JSON."""
        self.assertEqual(answer.status, status, answer)
        body = answer.json if answer.body else None
        if kind is not None:
            self.assertEqual(body["type"], kind, answer)
            self.assertTrue(body["detail"], "a problem says what to do")
        return body

    def random_mac(self):
        return "52:54:%02x:%02x:%02x:%02x" % tuple(random.randbytes(4))

    def wait_task(self, task, state="done", timeout_seconds=30):
        def ended():
            now = self.check(self.api.get(f"/tasks/{task['id']}"), 200)
            return now if now["state"] in ("done", "failed", "cancelled") else None
        ended_task = wait_until(ended, f"task {task['id']} ends", timeout_seconds)
        self.assertEqual(ended_task["state"], state, ended_task)
        return ended_task

    def upload(self, image, content=None, query="", state="done"):
        content = content if content is not None else random.randbytes(4096)
        task = self.check(self.api.put(f"/images/{image}/content{query}", content), 202)
        return self.wait_task(task, state)

    def add_client(self, name, **members):
        return self.check(self.api.post("/clients", {"name": name, "macs": [self.random_mac()], **members}), 201)

    def add_lease(self, image, api=None, **members):
        return self.check((api or self.api).post("/links", {"lease": "10m", "image": image, **members}), 201)

    def wait_event(self, kind, after=0, **wanted):
        def found():
            events = self.api.get(f"/events?after={after}&limit=1000").json["items"]
            for event in events:
                if event["kind"] == kind and all(event[key] == value for key, value in wanted.items()):
                    return event
            return None
        return wait_until(found, f"an event {kind} {wanted}")


class EventStream:
    """Server-Sent Events read in a thread; `events` grows."""

    def __init__(self, api, path="/events", headers=None):
        self.events, self.comments, self.status = [], 0, None
        self._connection = api._connection()
        self._connection.request("GET", BASE + path,
                                 headers={**api.headers, "Accept": "text/event-stream", **(headers or {})})
        self.response = self._connection.getresponse()
        self.status = self.response.status
        self.content_type = self.response.getheader("Content-Type")
        self.ended = threading.Event()
        if self.status == 200:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        import json
        event = {}
        with contextlib.suppress(Exception):
            for line in self.response:
                line = line.decode().rstrip("\n")
                if line.startswith(":"):
                    self.comments += 1
                elif line.startswith("id: "):
                    event["id"] = int(line[4:])
                elif line.startswith("data: "):
                    event["data"] = json.loads(line[6:])
                elif not line and "data" in event:
                    assert event["id"] == event["data"]["id"]
                    self.events.append(event["data"])
                    event = {}
        self.ended.set()

    def close(self):
        import socket
        with contextlib.suppress(OSError):
            if self._connection.sock:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class OwnServer(ManagerCase):
    """Its manager's PostgreSQL is the class's own (`server`), to be stopped, frozen and used up."""

    @classmethod
    def setUpClass(cls):
        cls.server = Postgres().start()
        cls.addClassCleanup(cls.server.remove)
        super().setUpClass()
        # A target follows one database.
        cls.manager.stop()
        cls.target.registry = None
        cls.manager_options = (*cls.manager_options, "--control", f"unix:{cls.folder}/control.sock")
        cls.manager, cls.address, cls.token = cls.start_manager("own", cls.server.create_database("own"))
        cls.api = cls.client(cls.token)
