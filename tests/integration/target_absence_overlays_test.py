"""What overlays lie in is missing, empty, cut short, garbled, older, newer or another's: no kept block is lost or
served as something else, nothing is made in place of what is missing, and every other link serves."""

import os
import pathlib
import shutil
import tempfile
import unittest
import uuid

from harness import iscsi, processes, target_case as target

BLOCK = 4096
SECTORS = BLOCK // 512
BLOCKS = 24  # that are written of each disk


def content(name, block, round_number):
    return (f"{name}.{block}.{round_number}.".encode()).ljust(64, b"#") * (BLOCK // 64)


# ---- Damages: of a file, each with what it does to it

def missing(path, _):
    path.unlink()


def empty(path, _):
    os.truncate(path, 0)


def cut(path, _):
    os.truncate(path, 4096 + 5 * 16 if path.name == "journal" else 3 * BLOCK + 100)


def garbled(path, _, record=9):
    with open(path, "r+b") as file:
        at = 4096 + record * 16 if path.name == "journal" else 2 * BLOCK
        file.seek(at)
        old = file.read(16)
        file.seek(at)
        file.write(bytes(byte ^ 0x5A for byte in old))


def garbled_head(path, _):
    with open(path, "r+b") as file:
        file.write(bytes(64))


def older(path, case):
    shutil.copy(case.earlier / path.name, path)


def newer(path, _):
    with open(path, "r+b") as file:
        file.seek(8)
        file.write((99).to_bytes(4, "little"))


def foreign(path, case):
    shutil.copy(case.other / path.name, path)


class Case:
    """A link of policy keep, its folder damaged in one way; the files as they were are kept beside."""

    def __init__(self, name, damage, part):
        self.name, self.damage, self.part = name, damage, part

    def __repr__(self):
        return self.name


FILE_CASES = [
    *((damage, "journal") for damage in (missing, empty, cut, garbled, garbled_head, older, newer, foreign)),
    *((damage, "slots") for damage in (missing, empty, cut, garbled, older, foreign)),
]
NOT_READY = {"journal-missing", "journal-empty", "journal-cut", "journal-garbled", "journal-garbled-head", "journal-newer",
             "journal-foreign", "slots-missing", "folder-missing", "folder-empty"}


class Absence(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.overlays = self.target.state_dir / "overlays"
        self.image = os.urandom(1 << 20)
        self.version = self.target.import_image(self.image)

    def login(self, link):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], "user", target.SECRET)
        while True:
            try:
                initiator.scsi(bytes(6))
                return initiator
            except iscsi.CheckCondition as told:
                self.assertEqual(told.key, 6)

    def make(self, name, policy="keep"):
        """A link whose disk was written in two rounds, each flushed."""
        link = self.target.put_link(name, self.version, policy)
        self.write(link, name, 1, BLOCKS)
        return link

    def write(self, link, name, round_number, count):
        initiator = self.login(link)
        for block in range(count):
            initiator.write(block * SECTORS, content(name, block, round_number))
            if block % 4 == 3:
                initiator.flush()
        initiator.flush()
        initiator.logout()

    def folder_of(self, link):
        return self.overlays / link["id"] / "lun0-g1"

    def blocks(self, link):
        """What each block reads as, None for a medium error."""
        initiator = self.login(link)
        found = []
        for block in range(BLOCKS):
            try:
                found.append(initiator.read(block * SECTORS, SECTORS))
            except iscsi.CheckCondition as told:
                self.assertEqual((told.key, *told.asc), (3, 0x11, 0))
                found.append(None)
        initiator.logout()
        return found

    def expect_whole(self, link, name):
        self.assertTrue(self.target.view(link)["ready"], self.target.view(link))
        wanted = [content(name, block, 2 if block < BLOCKS // 2 else 1) for block in range(BLOCKS)]
        self.assertEqual(self.blocks(link), wanted, name)

    def wait_ready(self, link):
        return processes.wait_until(lambda: self.target.view(link)["ready"], f"{link['iqn']} is ready again")

    def test_files_and_folders_of_single_overlays(self):
        cases = [Case(f"{part}-{damage.__name__.replace('_', '-')}", damage, part) for damage, part in FILE_CASES]
        cases += [Case("folder-missing", None, "folder"), Case("folder-empty", None, "folder")]
        good = self.make("good")
        for case in cases:
            case.link = self.make(case.name)
        self.target.daemon.stop()
        for case in cases:
            case.other = self.folder_of(good)
            case.earlier = self.folder / "earlier" / case.name
            shutil.copytree(self.folder_of(case.link), case.earlier)
        self.target.start()
        for link, name in [(good, "good"), *((case.link, case.name) for case in cases)]:
            self.write(link, name, 2, BLOCKS // 2)
        self.target.daemon.stop()
        for case in cases:
            path = self.folder_of(case.link)
            case.saved = self.folder / "saved" / case.name
            shutil.copytree(path, case.saved)
            if case.part == "folder":
                shutil.rmtree(path)
                if case.name == "folder-empty":
                    path.mkdir()
            else:
                case.damage(path / case.part, case)
            case.left = {file.name: file.read_bytes() for file in path.glob("*")} if path.exists() else None
        self.target.start()

        self.expect_whole(good, "good")
        for case in cases:
            with self.subTest(case.name):
                self.check_damaged(case)
        # What was put back is served as it was, and without a restart where it had been missing.
        waiting = [case for case in cases if "missing" in case.name or case.name == "folder-empty"]
        for case in waiting:
            self.put_back(case)
        for case in waiting:
            with self.subTest(case.name):
                self.wait_ready(case.link)
                self.expect_whole(case.link, case.name)
        self.target.daemon.stop()
        for case in cases:
            if case not in waiting:
                self.put_back(case)
        self.target.start()
        for case in cases:
            with self.subTest(case.name):
                self.expect_whole(case.link, case.name)
        self.expect_whole(good, "good")

    def put_back(self, case):
        """At once, as a mount or a rename does it."""
        whole = self.folder / "back" / case.name
        shutil.copytree(case.saved, whole)
        shutil.rmtree(self.folder_of(case.link), ignore_errors=True)
        whole.rename(self.folder_of(case.link))

    def check_damaged(self, case):
        view = self.target.view(case.link)
        self.assertEqual(view["ready"], case.name not in NOT_READY, view)
        if not view["ready"]:
            self.assertIn(str(self.folder_of(case.link)), view["problem"])
            with self.assertRaises(iscsi.LoginFailed):
                self.login(case.link)
            path = self.folder_of(case.link)
            left = {file.name: file.read_bytes() for file in path.glob("*")} if path.exists() else None
            self.assertEqual(left, case.left, "it is left as it is")
            return
        found = self.blocks(case.link)
        for block, data in enumerate(found):
            now = content(case.name, block, 2 if block < BLOCKS // 2 else 1)
            # A whole journal of an earlier time speaks of what was there then.
            allowed = [None, now, content(case.name, block, 1)] if case.name == "journal-older" else [None, now]
            self.assertIn(data, allowed, f"block {block}")
        if case.name not in ("journal-older",):
            self.assertIn(None, found)
        if case.name == "slots-garbled":
            self.assertEqual(found.count(None), 1)

    def test_a_damaged_disk_is_verified_and_salvaged(self):
        link = self.make("pc")
        self.write(link, "pc", 2, BLOCKS // 2)
        self.target.daemon.stop()
        garbled(self.folder_of(link) / "slots", None)
        self.target.start()

        def task(call):
            return self.target.task(self.target.api.post(f"/links/{link['id']}/{call}", {"id": str(uuid.uuid4())}))

        found = task("verify")
        self.assertEqual(found["state"], "done", found)
        self.assertEqual((found["check"]["bad_bytes"], found["check"]["checked_bytes"]), (BLOCK, BLOCKS * BLOCK))
        [bad] = found["check"]["bad"]
        saved = task("save")
        self.assertEqual(saved["state"], "failed")
        self.assertIn("link salvage", saved["error"]["message"])
        made = task("salvage")
        self.assertEqual(made["state"], "done", made)
        self.assertEqual((made["salvage"]["lost"], made["salvage"]["doubtful_bytes"]), ([bad], 0))
        copy = self.target.put_link("copy", made["version"]["digest"])
        for block, data in enumerate(self.blocks(copy)):
            lost = block * BLOCK == bad["offset_bytes"]
            self.assertEqual(data, bytes(BLOCK) if lost else content("pc", block, 2 if block < BLOCKS // 2 else 1))
        # With its journal damaged the link is not ready; what is known can be had all the same.
        self.target.daemon.stop()
        # Each four blocks and a flush are six records, so this is one of the second round.
        garbled(self.folder_of(link) / "journal", None, 1 + 6 * BLOCKS // 4 + 3)
        self.target.start()
        self.assertFalse(self.target.view(link)["ready"])
        made = task("salvage")
        self.assertEqual(made["state"], "done", made)
        self.assertEqual(made["salvage"]["bad_records"], 1)
        self.assertGreaterEqual(made["salvage"]["doubtful_bytes"], BLOCKS // 2 * BLOCK)

    def test_a_damaged_disk_is_found_before_anybody_reads_it(self):
        damaged, sound, fresh = self.make("damaged"), self.make("sound"), self.make("fresh", "discard")
        for link, name in ((damaged, "damaged"), (sound, "sound"), (fresh, "fresh")):
            self.write(link, name, 2, BLOCKS // 2)
        self.target.daemon.stop()
        garbled(self.folder_of(damaged) / "slots", None)
        self.target.daemon.arguments += ["--verify-every", "0.00001"]  # days, most of a second
        self.target.start()
        event = self.target.wait_event("overlay_damaged", link_id=damaged["id"])
        self.assertEqual(event["data"], {"lun": 0, "bad_bytes": BLOCK})
        [running] = self.target.view(damaged)["running"]
        self.assertIn(f"{BLOCK} bytes of it are not what was written", running["problem"])
        # Of the others it is said that they are whole, and of none anything twice.
        log = processes.wait_until(lambda: (text := self.target.daemon.log()).count("is compared: ") >= 4 and text,
                                   "each was compared more than once")
        self.assertIn(f"of link {sound['id']} is compared: 0 of {BLOCKS * BLOCK} bytes", log)
        self.assertNotIn(f"of link {fresh['id']} is compared", log)
        self.assertEqual(len(self.target.events(0, "overlay_damaged")), 1)

    def test_the_folder_of_all_overlays(self):
        keep, discard = self.make("keep"), self.make("discard", "discard")
        self.write(keep, "keep", 2, BLOCKS // 2)
        aside = self.folder / "aside"
        marker = (self.overlays / ".goldlink-identity").read_text()

        def away():
            self.overlays.rename(aside)

        def another():
            away()
            self.overlays.mkdir()
            (self.overlays / ".goldlink-identity").write_text(f"{uuid.uuid4()} overlays\n")

        def unmarked():
            (self.overlays / ".goldlink-identity").unlink()

        def unmounted():
            away()
            self.overlays.mkdir()

        for take, words in ((away, "not mounted"), (unmounted, "not mounted"), (another, "another installation"),
                            (unmarked, ".goldlink-identity")):
            with self.subTest(take.__name__):
                self.target.daemon.stop()
                take()
                there = sorted(self.overlays.rglob("*")) if self.overlays.exists() else []
                self.target.start()
                for link in (keep, discard):
                    view = self.target.view(link)
                    self.assertFalse(view["ready"])
                    self.assertIn(words, view["problem"])
                early = self.target.api.put(f"/links/{uuid.uuid4()}", self.target.link_body("early", self.version, "keep"))
                self.assertFalse(self.check(early, 200)["ready"])
                self.assertEqual(sorted(self.overlays.rglob("*")) if self.overlays.exists() else [], there)
                self.check(self.target.api.delete(f"/links/{early.json['id']}"), 204)
                # Mounted, it serves by itself.
                if aside.exists():
                    shutil.rmtree(self.overlays, ignore_errors=True)
                    aside.rename(self.overlays)
                (self.overlays / ".goldlink-identity").write_text(marker)
                self.wait_ready(keep)
                self.expect_whole(keep, "keep")
                self.wait_ready(discard)

    def test_a_ram_folder_that_was_emptied_within_one_start_of_the_machine(self):
        self.target.daemon.stop()
        ram = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, ram, True)
        self.target.daemon.arguments += ["--ram-dir", str(ram), "--ram-budget", "64MiB"]
        self.target.start()
        keep, discard = self.make("keep"), self.make("discard", "discard")
        self.write(keep, "keep", 2, BLOCKS // 2)
        self.target.daemon.stop()
        shutil.rmtree(ram)
        ram.mkdir()
        self.target.start()
        self.expect_whole(keep, "keep")
        view = self.target.view(discard)
        self.assertFalse(view["ready"])
        self.assertIn("missing", view["problem"])
        # A PC that starts anew gets a fresh disk; so does one whose link is reset.
        self.assertTrue(self.target.boot(discard)["username"])
        self.check(self.target.api.post(f"/links/{discard['id']}/reset", {}), 200)
        self.assertEqual(self.blocks(discard)[0], self.image[:BLOCK])


if __name__ == "__main__":
    unittest.main()
