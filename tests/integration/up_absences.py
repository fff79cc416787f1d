"""What a server's state consists of, each part missing, empty, cut short, garbled, of an earlier time, of a newer
program or of another server: a row of a table each. No kept block is lost or read as something else, whatever the
damage does not concern serves, and what is wrong is named with the way out. `up_absences.py -k links_json` runs the
rows of one part."""

import contextlib
import copy
import functools
import os
import shutil
import unittest
import uuid

import absence_records as records
from absence_records import BLOCK, CHUNK, IMAGE_BYTES, ServerMaker, TargetMaker, WholeServer, folder_of, temporary_folder
from absences import (RECORDS_AT, Outcome, Row, Thing, add_rows, cut, empty, foreign, garbled, journal_of_format_99,
                      line_of_version_99, lend, manifest_of_format_99, missing, newer, older, put)
from harness import processes, target_case
from harness.postgres import Postgres
from harness.processes import TestCase, binary, wait_until

ALL = ("keep", "super", "discard", "late")
NEWER_PROGRAM = "start the newer program"
SERVES = Outcome()


def every(word, *names):
    return dict.fromkeys(names or ALL, word)


def waits(*says, **options):
    return Outcome(*says, **options, **every("waits"))


# ---- What is done before clients read


def verified(test, server):
    """Nothing compares an image's chunks while they are read, but a verification tells which are bad."""
    for name in ("image", "other"):
        asked = server.api.post(f"/versions/{test.ours.names[name]}/verify", {"id": str(uuid.uuid4())})
        task = server.target.task(asked)
        test.assertEqual(task["state"], "done", task)


def follows_own(test, server):
    test.assertEqual(server.api.put("/registry", test.ours.registry).json["match"], "own")


def follows_none(test, server):
    """Not a stranger's either, also after another start: a person says which it is."""
    for registry in (test.ours.registry, test.theirs.registry):
        test.assertEqual(server.api.put("/registry", registry).json["match"], "other")
    server.daemon.stop()
    server.daemon.start()
    answer = server.api.put("/registry", test.theirs.registry)
    test.assertEqual(answer.json["match"], "other", "after another start")


def is_not_followed(test, server):
    test.assertEqual(server.api.put("/registry", test.ours.registry).json["match"], "other")


def lost_to_trash(test, server):
    """What the trash cannot give back is not given back as something else."""
    test.assertNotEqual(server.restore_from_trash(), 200)


# ---- Ways out beside putting back what was there


def rebuilt(test, server):
    """Of `goldlink store rebuild`."""
    target_case.run(binary("goldlink-target"), "--state-dir", test.state, "--rebuild-store")


def set_aside(*more, **links):
    """A file that can be done without."""
    return Outcome("cannot be used", ".damaged-", "give it its old name", *more, **links)


KEPT = {missing: SERVES, **dict.fromkeys((empty, cut, garbled), set_aside())}
NOT_MOUNTED, OTHERS, UNREADABLE = "is not mounted", "of another installation", "Its one line is '"
INDEX = "goldlink store rebuild"
OVERLAY = "overlays/{keep}/lun0-g1"
TRASHED = "overlays/.trash/{entry}"
SALVAGE = "'goldlink link salvage'"


def marker(folder):
    return Thing(f"{folder}/.goldlink-identity", {
        missing: waits(".goldlink-identity is missing", "write the line '"), empty: waits(UNREADABLE),
        cut: waits(UNREADABLE), garbled: waits(UNREADABLE), foreign: waits(OTHERS, "mount the right disk")})


def index(**more):
    """With it missing or another's nothing of the store is served; an older one serves what it knows."""
    gone = waits("/index is missing or empty", INDEX, **more)
    return {missing: gone, empty: gone,
            older: Outcome("/index does not know 1 of the manifests", INDEX, late="waits", **more),
            foreign: waits("/index is not the one of this image store", INDEX, **more)}


STATE_FILES = [
    Thing("identity", {
        missing: Outcome("identity is made anew"),
        **dict.fromkeys((empty, cut, garbled), Outcome("identity is damaged", "identity is made anew")),
        older: SERVES, newer: Outcome("/identity has format 99", NEWER_PROGRAM, refused=True),
        foreign: waits("/identity", OTHERS)}),
    Thing("links.json", {
        missing: Outcome("links.json is missing", "as soon as the manager names its link"),
        **dict.fromkeys((empty, cut, garbled), Outcome("links.json.damaged-")), older: SERVES,
        newer: Outcome("links.json is of format 99", NEWER_PROGRAM, refused=True),
        foreign: Outcome("links.json")}),
    Thing("registry.json", {
        missing: Outcome(first=follows_own), older: Outcome(first=follows_own),
        foreign: Outcome(first=is_not_followed),
        **dict.fromkeys((empty, cut, garbled),
                        Outcome("registry.json.damaged-", "goldlink registry adopt", first=follows_none)),
        newer: Outcome("registry.json.damaged-", NEWER_PROGRAM, first=follows_none)}),
    Thing("tasks.json", {**KEPT, older: SERVES, foreign: SERVES, newer: set_aside(NEWER_PROGRAM)}),
    Thing("pins.json", {**KEPT, older: SERVES, foreign: SERVES}),
    Thing("events.jsonl", {**dict.fromkeys((missing, empty, cut, older, foreign), SERVES), garbled: set_aside()}),
    Thing("boot-traces/{image}", KEPT),
    Thing("boot-traces", {missing: SERVES, empty: SERVES, foreign: SERVES}),
    Thing("uploads", {missing: SERVES}),
    Thing("exports", {missing: SERVES}),
    Thing("lock", {missing: SERVES}),
]

OVERLAYS = [
    Thing("overlays", {
        missing: waits(NOT_MOUNTED, first=lost_to_trash), empty: waits(NOT_MOUNTED, first=lost_to_trash),
        foreign: waits(OTHERS, "mount the right disk", first=lost_to_trash),
        older: Outcome("late", "mount its disk or restore its files", first=lost_to_trash, late="waits",
                       discard="waits", **every("stale", "keep", "super"))}),
    marker("overlays"),
    Thing(OVERLAY, {
        missing: Outcome("/journal is missing", "restore its files", keep="waits"),
        empty: Outcome("/journal is missing", "restore its files", keep="waits"),
        older: Outcome(keep="stale"), foreign: Outcome("another", keep="waits")}),
    Thing("overlays/{keep}", {missing: Outcome("/journal is missing", "restore its files", keep="waits"),
                              foreign: Outcome("another", keep="waits")}),
    Thing(OVERLAY + "/journal", {
        missing: Outcome("/journal is missing", "restore its files", keep="waits"),
        empty: Outcome("/journal is cut short", "restore", keep="waits"),
        cut: Outcome("it is cut short", SALVAGE, keep="waits"),
        garbled: Outcome("record 9 is not what was written", SALVAGE, keep="waits"),
        older: Outcome(keep="stale"), foreign: Outcome("another", keep="waits"),
        newer: Outcome("/journal has format 99", "start the program that wrote it", keep="waits")},
          cut_at=RECORDS_AT + 5 * 16, garble_at=RECORDS_AT + 9 * 16, garble_bytes=16, newer=journal_of_format_99),
    Thing(OVERLAY + "/slots", {
        missing: Outcome("/slots is missing", "restore it", keep="waits"),
        **dict.fromkeys((empty, cut), Outcome("are cut short", SALVAGE, keep="unread")),
        **dict.fromkeys((garbled, older, foreign), Outcome(keep="unread"))},
          cut_at=3 * BLOCK + 100, garble_at=5 * BLOCK, garble_bytes=16),
    Thing(OVERLAY + "/unit.json", {
        missing: SERVES, older: SERVES, foreign: SERVES,
        **dict.fromkeys((empty, cut, garbled), Outcome("unit.json", "restore it, or move it away", keep="waits")),
        newer: Outcome("unit.json", NEWER_PROGRAM, keep="waits")}),
    Thing("overlays/.trash", {missing: Outcome(first=lost_to_trash), empty: Outcome(first=lost_to_trash)}),
    Thing(TRASHED, {missing: Outcome(first=lost_to_trash),
                    empty: Outcome("/entry.json cannot be read", first=lost_to_trash)}),
    Thing(TRASHED + "/entry.json", {
        **dict.fromkeys((missing, empty, cut, garbled),
                        Outcome("/entry.json cannot be read", "its overlays lie beside it", first=lost_to_trash)),
        newer: Outcome("/entry.json", NEWER_PROGRAM, first=lost_to_trash)}),
    Thing(TRASHED + "/lun0-g1", {missing: Outcome(first=lost_to_trash)}),
]

STORE = [
    Thing("store", {missing: waits(NOT_MOUNTED), empty: waits(NOT_MOUNTED),
                    foreign: waits(OTHERS, "mount the right disk"),
                    older: Outcome("the image store has no version", late="waits")}),
    marker("store"),
    Thing("store/format", {missing: waits("store/format is missing", "restore it"), empty: waits("store/format"),
                           cut: waits("store/format"), garbled: waits("store/format"),
                           newer: waits("store/format", NEWER_PROGRAM)}, newer=line_of_version_99),
    Thing("store/id", {missing: SERVES,
                       **dict.fromkeys((empty, cut, garbled),
                                       waits("store/id is damaged", "restore it, or remove it")),
                       foreign: waits("/index is not the one of this image store", INDEX)}),
    Thing("store/index", index(way=rebuilt)),
    Thing("store/index/data.mdb", {**index(), cut: waits("/index is cut short or damaged", INDEX),
                                   garbled: waits("/index does not begin as an LMDB file", INDEX, way=rebuilt)}),
    Thing("store/index/closed", dict.fromkeys((missing, empty, cut, garbled, older, foreign), SERVES)),
    Thing("store/index/lock.mdb", dict.fromkeys((missing, empty, garbled, foreign), SERVES)),
    Thing("store/manifests", {
        missing: waits("is missing", "goldlink image repair"), empty: waits("is missing", "goldlink image repair"),
        older: Outcome("is missing", "goldlink image repair", late="waits"),
        foreign: Outcome("is missing", "does not know 1 of the manifests", late="waits")}),
    Thing("store/manifests/{other}", {
        missing: Outcome("is missing", "goldlink image repair", late="waits"),
        empty: Outcome("is cut short", "restore it from a backup", late="waits"),
        cut: Outcome("has a length that contradicts its header", "restore it from a backup", late="waits"),
        garbled: Outcome("does not begin as a manifest", "restore it from a backup", late="waits"),
        newer: Outcome("has format 99", NEWER_PROGRAM, late="waits"),
        foreign: Outcome("does not match its digest", "restore it from a backup", late="waits")},
          newer=manifest_of_format_99),
    Thing("store/packs", {missing: Outcome(".pack is missing", "image repair", **every("unread")),
                          empty: Outcome(".pack is missing", "image repair", **every("unread")),
                          older: Outcome("is cut short", late="unread"),
                          foreign: Outcome("corrupt", first=verified, late="unread")}),
    Thing("store/packs/00000000.pack", {
        missing: Outcome(".pack is missing", "image repair", **every("unread")),
        empty: Outcome("is cut short", **every("unread")), cut: Outcome("is cut short", late="unread"),
        garbled: Outcome("corrupt", first=verified, **every("unread", "keep", "super", "discard")),
        older: Outcome("is cut short", late="unread"), foreign: Outcome("corrupt", first=verified, late="unread")},
          cut_at=4 * CHUNK, garble_bytes=4 * CHUNK),
    Thing("store/spool", {missing: SERVES}),
    Thing("store/lock", {missing: SERVES}),
]


@functools.cache
def target_records():
    """Ours, and another's of the same image and with the same names: nothing but identities tells them apart."""
    folder = temporary_folder()
    unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
    maker, image = TargetMaker(folder), os.urandom(IMAGE_BYTES)
    return [maker.record(owner, image, os.urandom(IMAGE_BYTES)) for owner in ("ours", "theirs")]


class Case(TestCase):
    def give(self, source, path):
        lend(source, path, self.ours.names["discard"])

    def check_reads(self, wanted, *more):
        """By and by: the manager names links that were lost, and bad chunks are looked at again behind a start."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.server.read_all(*more) == wanted, "all read so", timeout_seconds=10)
        self.assertEqual(self.server.read_all(*more), wanted)


class TargetCase(Case):
    """goldlink-target by itself: each row on a copy of its state."""

    @classmethod
    def setUpClass(cls):
        cls.ours, cls.theirs = target_records()

    def setUp(self):
        super().setUp()
        self.state = folder_of(self) / "target"
        self.give(self.ours.state, self.state)
        self.server = records.Target(self, self.state, self.ours)

    def check_row(self, thing, damage):
        row = Row(thing, damage, self.ours, self.theirs)
        path, outcome = row.path(self.state), row.outcome
        damage(path, row)
        if outcome.refused:
            self.check_refused(outcome)
        else:
            self.server.daemon.start()
            self.check_serves(outcome)
        if outcome.refused or outcome.links or outcome.first is lost_to_trash:
            self.server.daemon.stop()
            outcome.way(self, self.server) if outcome.way else self.give(row.path(self.ours.state), path)
            self.server.daemon.start()
            self.server.name_links()
        self.check_all_whole()

    def check_refused(self, outcome):
        self.server.daemon.start(wait_ready=False)
        self.assertEqual(self.server.daemon.wait(), 1)
        self.check_said(outcome, self.server.daemon.log())

    def check_serves(self, outcome):
        self.server.name_links()
        if outcome.first:
            outcome.first(self, self.server)
        self.assertEqual(self.server.read_all(), {**every("whole"), **outcome.links})
        self.check_said(outcome, self.server.said())

    def check_said(self, outcome, said):
        for words in outcome.says:
            self.assertIn(words, said)

    def check_all_whole(self):
        """Also the disk in the trash."""
        self.assertEqual(self.server.restore_from_trash(), 200)
        self.check_reads(every("whole", *ALL, "gone"), self.ours.gone)


class Target(TargetCase):
    pass


for things in (STATE_FILES, OVERLAYS, STORE):
    add_rows(Target, things)


# ---- What lies in memory


RAM = [
    Thing("", {missing: Outcome("is missing", discard="waits"), empty: Outcome("is missing", discard="waits"),
               foreign: Outcome(OTHERS, discard="waits")}),
    Thing(".goldlink-identity", {missing: Outcome("its .goldlink-identity is missing", discard="waits"),
                                 foreign: Outcome(OTHERS, discard="waits")}),
    Thing("{discard}", {foreign: Outcome("another", discard="waits")}),
    Thing("{discard}/lun0-g2/journal", {missing: Outcome("/journal is missing", discard="waits")}),
    Thing("{discard}/lun0-g2/slots-ram", {empty: Outcome("are cut short", discard="waits")}),
]


class InMemory(TargetCase):
    """With --ram-dir, where the discard disk's blocks are."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ram = temporary_folder()
        cls.addClassCleanup(shutil.rmtree, cls.ram, ignore_errors=True)
        cls.ours, cls.theirs = cls.moved(cls.ours), cls.moved(cls.theirs)

    @classmethod
    def moved(cls, record):
        """The record with its discard disk begun anew in memory; `memory` is a copy of that."""
        record = copy.copy(record)
        whole, folder = record.state, record.state.parent
        record.state, record.memory = folder / f"{record.owner}-ram", folder / f"{record.owner}-memory"
        put(whole, record.state)
        empty(cls.ram, None)
        maker = TargetMaker(folder)
        server = records.Target(maker.case, record.state, record, *cls.ram_options())
        server.daemon.start()
        try:
            link = record.links["discard"]
            maker.case.check(server.api.post(f"/links/{link.id}/reset"), 200)
            server.write(link, 1, records.WRITTEN)
            server.write(link, 2, records.AGAIN)
        finally:
            server.daemon.stop()
        cls.ram.rename(record.memory)  # the files themselves
        cls.ram.mkdir()
        return record

    @classmethod
    def ram_options(cls):
        return "--ram-dir", cls.ram, "--ram-budget", "16777216"

    def setUp(self):
        super().setUp()
        self.give(self.ours.memory, self.ram)
        self.server.daemon.arguments += map(str, self.ram_options())

    def check_row(self, thing, damage):
        row = Row(thing, damage, self.ours, self.theirs)
        row.foreign = lambda: row.path(self.theirs.memory, self.theirs)
        path, outcome = row.path(self.ram), row.outcome
        damage(path, row)
        self.server.daemon.start()
        self.check_serves(outcome)
        self.server.daemon.stop()
        self.give(row.path(self.ours.memory), path)
        self.server.daemon.start()
        self.check_all_whole()


add_rows(InMemory, RAM)


# ---- The whole server

REGISTRY = "goldlink registry show"
NO_DATABASE = Outcome("postgres", "starting it again in")


def postgres_99(path):
    path.write_text("99\n")


SERVER = [
    Thing("postgres", {missing: Outcome("is missing, though this server had one", REGISTRY), empty: NO_DATABASE,
                       older: Outcome("an earlier state of the target's registry", REGISTRY),
                       foreign: Outcome("the disks of this database are on another target", REGISTRY)}),
    Thing("postgres/PG_VERSION", {newer: Outcome("starting it again in", " 99, wh")}, newer=postgres_99),
    Thing("postgres/global/pg_control", dict.fromkeys((missing, cut, garbled), NO_DATABASE),
          cut_at=100, garble_bytes=64),
    Thing("target", {missing: waits("this target has lost its state folder", REGISTRY),
                     foreign: waits("the disks of this database are on another target", REGISTRY)}),
    Thing("target/identity", {missing: SERVES, foreign: waits("/identity")}),
    Thing("target/links.json", {missing: Outcome("the target has lost its list of links"), older: SERVES,
                                foreign: Outcome("the target has lost its list of links")}),
    Thing("target/registry.json", {missing: SERVES, **dict.fromkeys(
        (garbled, foreign), Outcome("this database is not the registry", REGISTRY))}),
    Thing("target/overlays", {missing: waits(NOT_MOUNTED)}),
]
# Each by itself is nothing: what is lost with them is made anew.
MADE_ANEW_FOLDERS = ("manager", "import", "run")
MADE_ANEW_FILES = ("admin.token", "run/children", "run/up.lock")


class Server(Case):
    """All of `goldlink up`, with its own PostgreSQL."""

    @classmethod
    def setUpClass(cls):
        folder = temporary_folder()
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        maker, image = ServerMaker(folder), os.urandom(IMAGE_BYTES)
        cls.ours = maker.record("ours", image, os.urandom(IMAGE_BYTES))
        cls.theirs = maker.record("theirs", image, os.urandom(IMAGE_BYTES))

    def setUp(self):
        super().setUp()
        self.state = folder_of(self) / "state"
        self.give(self.ours.state, self.state)
        self.server = WholeServer(self.folder, self.state, self.ours)
        self._daemons.append(self.server.up)
        self.addCleanup(self.server.up.stop)

    def check_row(self, thing, damage):
        row = Row(thing, damage, self.ours, self.theirs)
        path, outcome = row.path(self.state), row.outcome
        damage(path, row)
        self.check_serves(outcome)
        # What is below the target's folder comes back in the other table.
        if outcome.says and not thing.path.startswith("target/"):
            self.server.up.stop()
            self.give(row.path(self.ours.state), path)
            self.check_serves(SERVES)
        if thing.path != "target":
            trash = processes.Api(f"unix:{self.state / 'run' / 'target.sock'}").get("/trash")
            self.assertEqual(self.check(trash, 200)["entries"], [], "nobody removed a link")

    def check_serves(self, outcome):
        self.start(outcome)
        self.check_reads({**every("whole"), **outcome.links})

    def start(self, outcome):
        """Until it says what is wrong, or that all is well."""
        self.server.up.start(wait_ready=False)
        wait_until(self.server.serves_clients, "the target serves")
        if not outcome.says:
            self.server.up.wait_ready()
            wait_until(self.server.up.healthy, "every part works")
        for words in outcome.says:
            wait_until(lambda: words in self.server.said(), f"it says {words!r}")

    def check_made_anew(self, damage, names):
        for name in names:
            row = Row(Thing(name, {damage: SERVES}), damage, self.ours, self.theirs)
            damage(row.path(self.state), row)
        self.check_serves(SERVES)
        self.check(self.server.up.api().get("/api/v1/links"), 200)

    def test_folders_missing(self):
        self.check_made_anew(missing, MADE_ANEW_FOLDERS)

    def test_files_missing(self):
        self.check_made_anew(missing, MADE_ANEW_FILES)

    def test_files_empty(self):
        self.check_made_anew(empty, MADE_ANEW_FILES)

    def test_files_cut(self):
        self.check_made_anew(cut, MADE_ANEW_FILES)

    def test_files_garbled(self):
        self.check_made_anew(garbled, MADE_ANEW_FILES)

    def test_files_foreign(self):
        self.check_made_anew(foreign, MADE_ANEW_FILES)

    def test_pxe_table_json_foreign(self):
        """Of the revision that ours has; in a network of its own, as pxe answers on the ports of DHCP."""
        up = self.server.up
        up.arguments = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *up.arguments,
                        "--pxe", "proxy", "--interface", "lo"]
        api = processes.Api(f"unix:{self.state / 'run' / 'pxe.sock'}")
        table = self.state / "pxe" / "table.json"

        def is_ours():
            return sorted(client["name"] for client in api.get("/table").json["clients"]) == sorted(ALL)
        up.start()
        wait_until(is_ours, "the manager gives pxe the table")
        up.stop()
        table.write_text(table.read_text().replace('"name":"', '"name":"other-'))
        up.start()
        wait_until(is_ours, "the manager gives pxe the table again")

    def test_another_database_by_its_url(self):
        """Of a server that is not there, then one that is empty."""
        self.server.up.arguments += ["--database-url", f"host={self.folder} user=postgres dbname=postgres"]
        self.check_serves(Outcome("the database does not serve"))
        self.server.up.stop()
        database = Postgres()
        self.addCleanup(database.remove)
        self.server.up.arguments[-1] = database.start().url()
        self.check_serves(Outcome("this database is not the registry", REGISTRY))


add_rows(Server, SERVER)


# ---- The boot table of goldlink-pxe

BOOT_TABLE = [
    Thing("table.json", {**KEPT, older: SERVES, foreign: SERVES}),
    Thing("events.jsonl", {missing: SERVES, empty: SERVES, garbled: set_aside(), foreign: SERVES}),
]


def boot_table(name, revision):
    return {"revision": revision, "settings": {"unknown_policy": "local"},
            "clients": [{"id": str(uuid.uuid4()), "name": name, "macs": ["52:54:00:00:00:01"], "link_id": None,
                         "boot": "local", "initiator": "iqn.2026-11.io.goldlink.client:pc"}]}


class Pxe(TestCase):
    """goldlink-pxe by itself: it serves with whatever table there is, and takes the manager's again."""

    def setUp(self):
        super().setUp()
        self.names = {}
        self.tables = {"earlier": boot_table("earlier", 6), "ours": boot_table("ours", 7),
                       "theirs": boot_table("theirs", 7)}
        for name in self.tables:
            self.start(self.folder / name)
            self.check(self.api.put("/table", self.tables[name]), 200)
            self.daemon_now.stop()

    def start(self, state):
        self.api = processes.Api(f"unix:{self.folder / 'pxe.sock'}")
        self.daemon_now = self.daemon("goldlink-pxe", [
            "--state-dir", state, "--control", self.api.address, "--target-control", f"unix:{self.folder / 'none'}",
            "--mode", "off", "--tftp", "off", "--http", f"127.0.0.1:{processes.free_port()}"])
        self.daemon_now.start()

    def check_row(self, thing, damage):
        row = Row(thing, damage, self, self)
        row.earlier = lambda: self.folder / "earlier" / thing.path
        row.foreign = lambda: self.folder / "theirs" / thing.path
        damage(self.folder / "ours" / thing.path, row)
        self.start(self.folder / "ours")
        problems = self.check(self.api.get("/status"), 200)["problems"]
        for words in row.outcome.says:
            self.assertIn(words, str(problems))
        held = {"table.json": {older: ["earlier"], foreign: ["theirs"]}.get(damage, [])}.get(thing.path, ["ours"])
        self.assertEqual(self.clients(), held)
        self.check(self.api.put("/table", self.tables["ours"]), 200)
        self.assertEqual(self.clients(), ["ours"])

    def clients(self):
        return [client["name"] for client in self.check(self.api.get("/table"), 200)["clients"]]


add_rows(Pxe, BOOT_TABLE)

if __name__ == "__main__":
    unittest.main()
