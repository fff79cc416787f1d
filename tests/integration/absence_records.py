"""Servers whose clients have written what is known, kept as they were when they ended: for up_absences.py."""

import contextlib
import json
import pathlib
import struct
import tempfile
import uuid

from absences import put, remove
from harness import iscsi, processes, target_case
from harness.up import Up

BLOCK = 4096
SECTORS = BLOCK // 512
CHUNK = 65536
IMAGE_BYTES = 4 * CHUNK
WRITTEN = range(4, 12)  # blocks that every link's client writes
AGAIN = range(4, 8)     # those that it writes once more, after the earlier copy was made
POLICIES = {"keep": "keep", "super": "super", "discard": "discard", "late": "keep"}


def content(owner, link, block, round_number):
    return f"{owner}.{link}.{block}.{round_number}.".encode().ljust(64, b"#") * (BLOCK // 64)


class Link:
    def __init__(self, name, view, image, body=None, username="user", secret=target_case.SECRET):
        self.name, self.id, self.iqn, self.image, self.body = name, view["id"], view["iqn"], image, body
        self.username, self.secret = username, secret


class Record:
    """A server at its end: its state folder, a copy of an earlier end, and what its clients wrote."""

    def __init__(self, owner, folder):
        self.owner, self.state, self.earlier = owner, folder / f"{owner}", folder / f"{owner}-earlier"
        self.links, self.names, self.registry = {}, {}, None

    def verdict(self, link, read):
        """`read(block)` gives bytes, or None for a medium error."""
        found = {block: read(block) for block in (0, *WRITTEN)}
        base = found.pop(0)
        if base not in (None, link.image[:BLOCK]):
            return f"block 0 is not the image's: {base[:40]}"
        kinds = {self.kind(link, block, data) for block, data in found.items()}
        kinds |= {"unread"} if base is None else set()
        for word in ("foreign", "fresh", "stale", "unread"):
            if any(kind.startswith(word) for kind in kinds):
                return next(kind for kind in sorted(kinds) if kind.startswith(word))
        return "whole"

    def kind(self, link, block, data):
        if data is None:
            return "unread"
        if data == content(self.owner, link.name, block, 2 if block in AGAIN else 1):
            return "whole"
        if data == content(self.owner, link.name, block, 1):
            return "stale"
        if data == link.image[block * BLOCK:(block + 1) * BLOCK]:
            return "fresh"
        return f"foreign: block {block} has {data[:40]}"


class Clients:
    """Of a record's links, at `portal`."""

    def __init__(self, record, portal):
        self.record, self.portal = record, portal

    @contextlib.contextmanager
    def session(self, link):
        with iscsi.Initiator(self.portal, isid=iscsi.random_isid()) as initiator:
            yield initiator.login(link.iqn, link.username, link.secret)
            initiator.logout()

    def write(self, link, round_number, blocks):
        with self.session(link) as client:
            for block in blocks:
                client.write(block * SECTORS, content(self.record.owner, link.name, block, round_number))
                if block % 2:
                    client.flush()

    def read(self, link):
        """The record's verdict on what the link reads as; "waits" where it takes no login."""
        def block(client, number):
            try:
                return client.read(number * SECTORS, SECTORS)
            except iscsi.CheckCondition as told:
                if (told.key, *told.asc) != (3, 0x11, 0):
                    raise
                return None
        try:
            with self.session(link) as client:
                return self.record.verdict(link, lambda number: block(client, number))
        except iscsi.LoginFailed:
            return "waits"

    def read_all(self, *more):
        return {link.name: self.read(link) for link in (*self.record.links.values(), *more)}


class Target(Clients):
    """goldlink-target on a state folder with a record's links."""

    def __init__(self, case, state, record, *arguments):
        self.target = target_case.Target(case, "--reactors", "1", "--locked-memory", "1048576", *arguments,
                                         state_dir=state)
        self.api, self.daemon = self.target.api, self.target.daemon
        super().__init__(record, self.target.portal)

    def name_links(self):
        """As the manager does: of links that the target does not have it is told anew."""
        for link in self.record.links.values():
            if self.api.get(f"/links/{link.id}").status == 404:
                self.api.put(f"/links/{link.id}", link.body)

    def said(self):
        """All that it has to say of itself, with what it has logged."""
        status = self.api.get("/status").json
        links = [self.api.get(f"/links/{link.id}").json.get("problem") for link in self.record.links.values()]
        trash = [entry["problem"] for entry in self.api.get("/trash").json["entries"]]
        versions = self.api.get("/versions")
        damages = [version["damage"] for version in versions.json] if versions.status == 200 else []
        return "\n".join(map(str, [status["problems"], status["state_problem"], status["store"]["problem"], *links,
                                   *trash, *damages, self.daemon.log()]))

    def restore_from_trash(self):
        return self.api.post(f"/trash/{self.record.names['entry']}/restore", {}).status


class TargetMaker:
    """Makes records of a target before any test: with an earlier end and a last one."""

    def __init__(self, folder):
        self.folder = folder
        self.case = processes.TestCase()
        self.case.folder, self.case._daemons = folder, []

    def record(self, owner, image, other):
        record = Record(owner, self.folder)
        server = Target(self.case, record.state, record)
        server.daemon.start()
        try:
            self.first_part(server, image)
            server.daemon.stop()
            (record.state / "boot-traces" / record.names["image"]).write_text(
                json.dumps({"recorded_at": "2026-11-21T09:15:02.125Z", "inherited": False, "chunks": [0, 1]}))
            put(record.state, record.earlier)
            server.daemon.start()
            self.second_part(server, image, other)
        finally:
            server.daemon.stop()
        return record

    def first_part(self, server, image):
        record = server.record
        record.names["image"] = server.target.import_image(image)
        for name in ("keep", "super", "discard"):
            self.link(server, name, "image", image)
        self.follow(server, 1000)
        self.case.check(server.api.put("/pins", {"versions": [record.names["image"]]}), 204)
        self.reserve(server, record.links["keep"])

    def second_part(self, server, image, other):
        record = server.record
        record.names["other"] = server.target.import_image(other, "other.raw")
        self.case.check(server.api.put("/pins", {"versions": [record.names["other"]]}), 204)
        self.follow(server, 2000)
        self.link(server, "late", "other", other)
        for link in record.links.values():
            server.write(link, 2, AGAIN)
        # Removed last: its disk lies in the trash.
        gone = self.link(server, "gone", "image", image, policy="keep")
        server.write(gone, 2, AGAIN)
        record.gone = record.links.pop("gone")
        self.case.check(server.api.delete(f"/links/{gone.id}"), 204)
        [entry] = self.case.check(server.api.get("/trash"), 200)["entries"]
        record.names["entry"] = entry["id"]

    def link(self, server, name, version, image, policy=None):
        record = server.record
        policy = policy or POLICIES[name]
        view = server.target.put_link(name, record.names[version], policy)
        body = {**server.target.link_body(name, record.names[version], policy), "revision": 3000}
        link = record.links[name] = Link(name, view, image, body)
        record.names[name] = link.id
        server.write(link, 1, WRITTEN)
        return link

    def follow(self, server, revision):
        """The target belongs to a registry, whose mark is drawn anew."""
        record = server.record
        before = record.registry or {"id": str(uuid.uuid4()), "mark": None}
        record.registry = {"id": before["id"], "mark": str(uuid.uuid4()), "previous_mark": before["mark"],
                           "revision": revision, "adopt": False}
        answer = self.case.check(server.api.put("/registry", record.registry), 200)
        self.case.assertEqual(answer["match"], "own")

    @staticmethod
    def reserve(server, link):
        """A registration that outlives the target (APTPL): the disk gets a unit.json."""
        with server.session(link) as client:
            client.scsi(struct.pack(">BBB2xIB", 0x5F, 0, 0, 24, 0), data=struct.pack(">QQ4xB3x", 0, 0x1111, 1))


# ---- All of `goldlink up`


class WholeServer(Clients):
    def __init__(self, folder, state, record):
        self.up = Up(folder, ["--reserve", "1M", "--locked-memory", "1M"], state_dir=state)
        super().__init__(record, self.up.portal)

    def said(self):
        try:
            health = processes.Api(f"http://{self.up.listen}", timeout_seconds=5,
                                   headers={"Authorization": f"Bearer {self.up.token}"}).get("/api/v1/health").json
        except OSError:
            health = "no manager"
        return f"{health}\n{self.up.log()}"

    def serves_clients(self):
        try:
            control = processes.Api(f"unix:{self.up.state_dir / 'run' / 'target.sock'}", timeout_seconds=5)
            return control.get("/live").status == 200
        except OSError:
            return False


class ServerMaker:
    """Makes records of whole servers."""

    def __init__(self, folder):
        self.folder = folder

    def record(self, owner, image, other):
        record = Record(owner, self.folder)
        server = WholeServer(self.folder, record.state, record)
        server.up.start()
        try:
            self.image(server, "image", image)
            for number, name in enumerate(("keep", "super", "discard")):
                self.link(server, number, name, "image", image)
            server.up.stop()
            put(record.state, record.earlier)
            server.up.start()
            self.image(server, "other", other)
            self.link(server, 9, "late", "other", other)
            for link in record.links.values():
                server.write(link, 2, AGAIN)
        finally:
            server.up.stop()
        return record

    def image(self, server, name, data):
        file = self.folder / f"{name}.raw"
        file.write_bytes(data)
        done = server.up.cli("image", "import", name, file, "--format", "raw")
        if done.code != 0:
            raise AssertionError(done)

    @staticmethod
    def link(server, number, name, image, data):
        api = server.up.api()
        api.post("/api/v1/clients", {"name": name, "macs": [f"52:54:00:00:00:0{number}"]})
        made = api.post("/api/v1/links", {"client": name, "image": image, "policy": POLICIES[name]})
        if made.status != 201:
            raise AssertionError(made)
        link = Link(name, made.json, data, username=made.json["username"], secret=made.json["secret"])
        server.record.links[name] = link
        server.record.names[name] = link.id
        server.write(link, 1, WRITTEN)


def temporary_folder():
    """In memory, where copies cost little; short, for the sockets in it."""
    return pathlib.Path(tempfile.mkdtemp(prefix="goldlink-", dir="/dev/shm"))


def folder_of(test):
    folder = temporary_folder()
    test.addCleanup(remove, folder)
    return folder
