"""goldlink-target's clean-up: what nobody wants goes and its space comes back; what somebody wants,
or may come to want, stays, whatever happens meanwhile."""

import os
import time
import unittest
import uuid

from harness import iscsi, processes, target_case as target

CHUNK = 65536
BLOCKS = CHUNK // 512


class Gc(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()

    def import_noted(self, content):
        """As the manager does: the version is noted, then the task forgotten."""
        report = self.target.task(self.target.start_import(content))
        self.check(self.target.api.delete(f"/imports/{report['id']}"), 204)
        return report["version"]["digest"]

    def candidates(self):
        return self.check(self.target.api.get("/gc"), 200)

    def named(self, candidates):
        return {version["digest"] for version in candidates["versions"]}

    def versions(self):
        return {version["digest"] for version in self.check(self.target.api.get("/versions"), 200)}

    def look(self, mark, versions=(), uploads=()):
        return self.check(self.target.api.post("/gc", {"mark": mark, "versions": list(versions), "uploads": list(uploads),
                                                       "dry_run": True}), 200)

    def collect(self, mark, versions=(), uploads=()):
        report = self.target.task(self.target.api.post("/gc", {"id": str(uuid.uuid4()), "mark": mark,
                                                               "versions": list(versions), "uploads": list(uploads)}))
        self.assertEqual(report["state"], "done", report)
        return report["gc"]

    def taken_chunks(self):
        """Whole ones: the filesystem may take some blocks of its own for a file with many holes."""
        return sum(path.stat().st_blocks * 512 for path in (self.target.state_dir / "store/packs").iterdir()) // CHUNK

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

    def test_what_nobody_wants_goes_and_a_session_reads_on(self):
        content = os.urandom(16 * CHUNK)
        used = self.import_noted(content)
        shares = self.import_noted(content[:12 * CHUNK] + os.urandom(4 * CHUNK))
        alone = self.import_noted(os.urandom(8 * CHUNK))
        initiator = self.login(self.target.put_link("pc-001", used))
        found = self.candidates()
        self.assertEqual(self.named(found), {shares, alone}, "what a link uses is none")
        before = self.taken_chunks()

        would = self.look(found["mark"], [shares, alone, used])
        self.assertEqual([(item["kind"], item["name"], item["bytes"]) for item in would["items"]],
                         [("version", shares, 4 * CHUNK), ("version", alone, 8 * CHUNK)])
        self.assertEqual(would["bytes"], 12 * CHUNK)
        self.assertEqual([kept["name"] for kept in would["kept"]], [used])
        self.assertEqual(self.versions(), {used, shares, alone}, "nothing has changed")
        self.assertEqual(self.taken_chunks(), before)

        went = self.collect(found["mark"], [shares, alone, used])
        self.assertEqual((went["items"], went["kept"], went["bytes"]), (would["items"], would["kept"], would["bytes"]))
        self.assertEqual(self.versions(), {used})
        self.assertEqual(before - self.taken_chunks(), 12)
        for chunk in range(16):
            self.assertEqual(initiator.read(chunk * BLOCKS, BLOCKS), content[chunk * CHUNK:(chunk + 1) * CHUNK])
        self.assertEqual(self.look(self.candidates()["mark"])["items"], [])

    def test_a_version_that_is_made_anew_after_the_mark_stays(self):
        content = os.urandom(4 * CHUNK)
        digest = self.import_noted(content)
        found = self.candidates()
        self.assertEqual(self.named(found), {digest})
        self.assertEqual(self.import_noted(content), digest)  # somebody wants it again
        later = self.import_noted(os.urandom(4 * CHUNK))
        went = self.collect(found["mark"], [digest, later])
        self.assertEqual((went["items"], {kept["name"] for kept in went["kept"]}), ([], {digest, later}))
        self.assertEqual(self.versions(), {digest, later})
        again = self.candidates()
        self.assertEqual(self.named(again), {digest, later}, "the next one finds them")
        self.collect(again["mark"], [digest, later])
        self.assertEqual(self.versions(), set())

    def test_versions_of_tasks_are_named_with_them(self):
        report = self.target.task(self.target.start_import(os.urandom(4 * CHUNK)))
        version = self.candidates()["versions"][0]
        self.assertEqual((version["digest"], version["tasks"]), (report["version"]["digest"], [report["id"]]))
        self.check(self.target.api.delete(f"/imports/{report['id']}"), 204)
        self.assertEqual(self.candidates()["versions"][0]["tasks"], [])

    def test_a_link_made_after_the_mark_keeps_its_version(self):
        content = os.urandom(4 * CHUNK)
        digest = self.import_noted(content)
        found = self.candidates()
        initiator = self.login(self.target.put_link("pc-001", digest))
        self.assertEqual([kept["name"] for kept in self.collect(found["mark"], [digest])["kept"]], [digest])
        self.assertEqual(initiator.read(0, BLOCKS), content[:CHUNK])

    def test_a_mark_of_a_target_that_ended_is_refused(self):
        digest = self.import_noted(os.urandom(4 * CHUNK))
        mark = self.candidates()["mark"]
        self.target.restart_after_kill()
        for body in ({"dry_run": True}, {"id": str(uuid.uuid4())}):
            refused = self.target.api.post("/gc", {"mark": mark, "versions": [digest], "uploads": [], **body})
            self.assertEqual(refused.status, 409, refused)
            self.assertIn("GET /gc", refused.json["detail"])
        self.assertEqual(self.versions(), {digest})

    def test_uploads_and_old_exports_go(self):
        content = os.urandom(4 * CHUNK)
        digest = self.import_noted(content)
        self.check(self.target.api.put("/uploads/left.raw", content), 200)
        self.check(self.target.api.put("/uploads/wanted.raw", content), 200)
        exports = []
        for _ in range(2):
            report = self.target.task(self.target.api.post(f"/versions/{digest}/export",
                                                           {"id": str(uuid.uuid4()), "format": "raw"}))
            self.assertEqual(report["state"], "done", report)
            exports.append(self.target.state_dir / "exports" / report["id"])
        two_days_ago = time.time() - 2 * 86400
        os.utime(exports[0], (two_days_ago, two_days_ago))
        found = self.candidates()
        self.assertEqual({upload["name"] for upload in found["uploads"]}, {"left.raw", "wanted.raw"})
        would = self.look(found["mark"], uploads=["left.raw"])
        self.assertEqual([(item["kind"], item["name"], item["bytes"]) for item in would["items"]],
                         [("upload", "left.raw", 4 * CHUNK), ("export", exports[0].name, 4 * CHUNK)])
        self.assertEqual(self.collect(found["mark"], uploads=["left.raw"])["items"], would["items"])
        self.assertEqual([path.exists() for path in exports], [False, True])
        self.assertEqual([upload["name"] for upload in self.candidates()["uploads"]], ["wanted.raw"])
        self.assertEqual(self.versions(), {digest})

    def test_overlays_of_links_that_are_gone_go_and_no_others(self):
        content = os.urandom(4 * CHUNK)
        used = self.import_noted(content)
        link = self.target.put_link("pc-001", used, policy="keep")
        initiator = self.login(link)
        initiator.write(0, b"\x55" * 4096)
        overlays = self.target.state_dir / "overlays"
        left, other = overlays / str(uuid.uuid4()) / "lun0-g1", overlays / "not-a-link" / "lun0-g1"
        for folder in (left, other):  # as when a deletion failed; and what somebody keeps there
            folder.mkdir(parents=True)
            (folder / "journal").write_bytes(bytes(4096))
            (folder / "slots").write_bytes(os.urandom(CHUNK))
        mark = self.candidates()["mark"]
        would = self.look(mark)
        self.assertEqual([(item["kind"], item["name"], item["bytes"]) for item in would["items"]],
                         [("overlay", left.parent.name, 0)])  # it may be somebody's work
        self.assertTrue(left.exists())
        went = self.collect(mark)
        self.assertEqual((went["items"], went["kept"]), (would["items"], []))
        self.assertEqual({path.name for path in overlays.iterdir()}, {link["id"], "not-a-link", ".trash", ".goldlink-identity"})
        [trashed] = self.check(self.target.api.get("/trash"), 200)["entries"]
        self.assertEqual((trashed["link_id"], trashed["restorable"]), (left.parent.name, False))
        self.assertTrue(other.exists())
        self.assertEqual(initiator.read(0, 8), b"\x55" * 4096)
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        processes.wait_until(lambda: not (overlays / link["id"]).exists(), "a removed link's overlays go by themselves")
        self.assertEqual(self.look(self.candidates()["mark"])["items"], [])

    def test_killed_in_the_middle_nothing_wanted_is_lost_and_the_next_one_ends_it(self):
        content = os.urandom(64 * CHUNK)
        wanted = self.import_noted(content)
        for delay in (0.0, 0.005, 0.02, 0.05):
            unwanted = [self.import_noted(os.urandom(32 * CHUNK) + content) for _ in range(4)]
            found = self.candidates()
            asked = {"id": str(uuid.uuid4()), "mark": found["mark"], "versions": unwanted, "uploads": []}
            self.check(self.target.api.post("/gc", asked), 202)
            time.sleep(delay)  # where the kill falls does not matter
            self.target.restart_after_kill()
            now = self.target.api.get(f"/imports/{asked['id']}")
            if now.status == 200:
                self.assertEqual(now.json["state"], "done", "one that was interrupted is not run again")
            self.assertIn(wanted, self.versions())
            self.collect(self.candidates()["mark"], unwanted)
            self.assertEqual(self.versions(), {wanted})
            self.assertEqual(self.taken_chunks(), 64)
            report = self.target.task(self.target.api.post(f"/versions/{wanted}/verify", {"id": str(uuid.uuid4())}))
            self.assertEqual(report["findings"], [])

    def test_what_is_no_clean_up_is_refused(self):
        mark = self.candidates()["mark"]
        for body in ({}, {"mark": mark}, {"mark": mark, "versions": ["x"], "uploads": [], "dry_run": True},
                     {"mark": mark, "versions": [], "uploads": ["a,b"], "dry_run": True},
                     {"mark": mark, "versions": [], "uploads": [], "everything": True},
                     {"id": "no-uuid", "mark": mark, "versions": [], "uploads": []}):
            self.assertEqual(self.target.api.post("/gc", body).status, 400, body)


if __name__ == "__main__":
    unittest.main()
