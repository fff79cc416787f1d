"""Kept disks outlive what was a mistake: a removed link, a state file that is lost, a registry that is
another one's."""

import json
import os
import pathlib
import shutil
import unittest
import uuid

from harness import iscsi, processes, target_case as target

MIB = 1 << 20
BLOCKS = 8          # of 512 bytes: one overlay block
MINE = b"what the client wrote".ljust(4096, b".")


class TrashCase(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.image = os.urandom(MIB)
        self.version = self.target.import_image(self.image)

    def check(self, answer, status, kind=None):
        body = super().check(answer, status)
        if kind is not None:
            self.assertEqual(body["type"], kind, answer)
        return body

    def login(self, link, username="user", secret=target.SECRET):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        return initiator.login(link["iqn"], username, secret)

    def written(self, name, policy="keep"):
        """A link whose client wrote one block, flushed it and left."""
        link = self.target.put_link(name, self.version, policy)
        client = self.login(link)
        client.write(BLOCKS, MINE)
        client.flush()
        client.logout()
        return link

    def assert_mine(self, link):
        client = self.login(link)
        self.assertEqual(client.read(BLOCKS, BLOCKS), MINE)
        self.assertEqual(client.read(0, BLOCKS), self.image[:4096])
        client.logout()

    def assert_fresh(self, link):
        client = self.login(link)
        self.assertEqual(client.read(BLOCKS, BLOCKS), self.image[4096:8192])
        client.logout()

    def trash(self):
        return self.check(self.target.api.get("/trash"), 200)["entries"]

    @property
    def overlays(self):
        return self.target.state_dir / "overlays"

    def put_again(self, link):
        body = self.target.link_body(link["alias"], self.version, link["disks"][0]["policy"])
        return self.check(self.target.api.put(f"/links/{link['id']}", body), 200)


class Removal(TrashCase):
    def test_a_removed_keep_disk_can_be_restored(self):
        link = self.written("pc-1")
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        [entry] = self.trash()
        self.assertEqual((entry["link_id"], entry["alias"], entry["restorable"]), (link["id"], "pc-1", True))
        self.assertGreaterEqual(entry["bytes"], 4096)
        self.assertFalse((self.overlays / link["id"]).exists())
        back = self.check(self.target.api.post(f"/trash/{entry['id']}/restore", {}), 200)
        self.assertTrue(back["ready"], back)
        self.assert_mine(link)
        self.assertEqual(self.trash(), [])
        self.target.restart_after_kill()
        self.assert_mine(link)

    def test_discard_and_untouched_disks_leave_nothing(self):
        for link in (self.written("pc-d", "discard"), self.target.put_link("pc-k", self.version, "keep")):
            self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
            self.assertFalse((self.overlays / link["id"]).exists())
        self.assertEqual(self.trash(), [])

    def test_a_removal_that_says_so_leaves_nothing(self):
        link = self.written("pc-l")
        self.check(self.target.api.delete(f"/links/{link['id']}?trash=maybe"), 400, "invalid")
        self.check(self.target.api.delete(f"/links/{link['id']}?trash=false"), 204)
        self.assertEqual(self.trash(), [])

    def test_a_removal_of_an_earlier_revision_is_refused(self):
        link = self.written("pc-r")
        self.check(self.target.api.delete(f"/links/{link['id']}?revision={self.target.revision - 1}"), 409, "stale-revision")
        self.assert_mine(link)
        self.check(self.target.api.delete(f"/links/{link['id']}?revision={self.target.revision}"), 204)

    def test_the_version_of_a_trashed_disk_stays_until_it_is_emptied(self):
        link = self.written("pc-v")
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        [entry] = self.trash()
        refused = self.check(self.target.api.delete(f"/versions/{self.version}"), 409, "version-in-use")
        self.assertIn("goldlink trash", refused["detail"])
        self.check(self.target.api.delete(f"/trash/{entry['id']}"), 204)
        self.check(self.target.api.delete(f"/trash/{entry['id']}"), 404)
        self.check(self.target.api.delete(f"/versions/{self.version}"), 204)

    def test_the_version_of_a_disk_whose_link_is_not_known_stays_too(self):
        """Whether the entry cannot be read, or was made of a disk that no link named."""
        link = self.written("pc-w")
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        [entry] = self.trash()
        file = self.overlays / ".trash" / entry["id"] / "entry.json"
        for content in ("not JSON", json.dumps({**json.loads(file.read_text()), "link": None})):
            file.write_text(content)
            self.check(self.target.api.delete(f"/versions/{self.version}"), 409, "version-in-use")
        self.check(self.target.api.delete(f"/trash/{entry['id']}"), 204)
        self.check(self.target.api.delete(f"/versions/{self.version}"), 204)

    def test_a_disk_that_was_taken_out_of_the_trash_is_not_restored(self):
        link = self.written("pc-t")
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        [entry] = self.trash()
        journal = self.overlays / ".trash" / entry["id"] / "lun0-g1" / "journal"
        journal.rename(self.folder / "journal")
        refused = self.check(self.target.api.post(f"/trash/{entry['id']}/restore", {}), 500, "corrupt")
        self.assertIn(str(journal), refused["detail"])
        self.check(self.target.api.get(f"/links/{link['id']}"), 404)
        (self.folder / "journal").rename(journal)
        self.check(self.target.api.post(f"/trash/{entry['id']}/restore", {}), 200)
        self.assert_mine(link)

    def test_a_restore_over_a_link_that_is_there_is_refused(self):
        link = self.written("pc-o")
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        [entry] = self.trash()
        self.put_again(link)
        self.check(self.target.api.post(f"/trash/{entry['id']}/restore", {}), 409, "link-exists")
        self.assert_fresh(link)
        self.assertEqual(len(self.trash()), 1)

    def test_a_set_without_many_kept_disks_asks_first(self):
        links = [self.written(f"pc-{n}") for n in range(2)]
        self.target.revision += 1
        body = {"revision": self.target.revision, "links": []}
        refused = self.check(self.target.api.put("/links", body), 409, "mass-removal")
        self.assertIn("confirm_removals 2", refused["detail"])
        for link in links:
            self.assert_mine(link)
        self.check(self.target.api.put("/links", {**body, "confirm_removals": 2}), 200)
        self.assertEqual({entry["link_id"] for entry in self.trash()}, {link["id"] for link in links})

    def test_a_kill_between_forgetting_and_moving_loses_nothing(self):
        """Both halves: the entry is there, and the overlay still where the link had it."""
        link = self.written("pc-half")
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        [entry] = self.trash()
        self.target.daemon.stop()
        folder = self.overlays / ".trash" / entry["id"]
        (self.overlays / link["id"]).mkdir()
        (folder / "lun0-g1").rename(self.overlays / link["id"] / "lun0-g1")
        self.target.start()
        self.assertEqual([e["id"] for e in self.trash()], [entry["id"]])
        self.check(self.target.api.post(f"/trash/{entry['id']}/restore", {}), 200)
        self.assert_mine(link)

    def test_an_entry_that_cannot_be_read_is_shown_and_kept(self):
        link = self.written("pc-bad")
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        [entry] = self.trash()
        self.target.daemon.stop()
        (self.overlays / ".trash" / entry["id"] / "entry.json").write_text("{")
        self.target.start()
        [shown] = self.trash()
        self.assertIn("cannot be read", shown["problem"])
        self.check(self.target.api.post(f"/trash/{entry['id']}/restore", {}), 409, "not-restorable")
        self.assertTrue((self.overlays / ".trash" / entry["id"] / "lun0-g1" / "journal").exists())


class LostState(TrashCase):
    """links.json in every state of loss: what it named is used again when the manager names it."""

    def lose(self, damage):
        links = [self.written("pc-keep"), self.written("pc-super", "super")]
        gone = self.written("pc-gone")
        self.target.daemon.stop()
        damage(self.target.state_dir / "links.json")
        self.target.start()
        return links, gone

    def check_nothing_lost(self, links, gone):
        status = self.check(self.target.api.get("/status"), 200)
        self.assertIn("links.json", status["state_problem"])
        self.assertTrue((self.overlays / gone["id"] / "lun0-g1" / "journal").exists())
        # What only the overlays name must stay, too.
        self.check(self.target.api.delete(f"/versions/{self.version}"), 409, "version-in-use")
        for link in links:
            self.assertTrue(self.put_again(link)["ready"])
            self.assert_mine(link)
        self.assertEqual(self.trash(), [])
        self.target.restart_after_kill()
        for link in links:
            self.assert_mine(link)
        # Now nobody names it, and a good state file says so: it is in the trash, not gone.
        self.assertEqual([entry["link_id"] for entry in self.trash()], [gone["id"]])

    def test_missing(self):
        self.check_nothing_lost(*self.lose(os.remove))

    def test_empty(self):
        self.check_nothing_lost(*self.lose(lambda path: path.write_text("")))

    def test_cut(self):
        self.check_nothing_lost(*self.lose(lambda path: os.truncate(path, path.stat().st_size // 2)))
        [aside] = self.target.state_dir.glob("links.json.damaged-*")
        self.assertGreater(aside.stat().st_size, 0)

    def test_garbled(self):
        self.check_nothing_lost(*self.lose(lambda path: path.write_bytes(os.urandom(500))))

    def test_one_link_garbled(self):
        def damage(path):
            state = json.loads(path.read_text())
            for link in state["links"]:
                if link["definition"]["alias"] == "pc-gone":
                    link["current"]["number"] = "seven"
            path.write_text(json.dumps(state))
        links, gone = self.lose(damage)
        for link in links:  # the others never noticed
            self.assert_mine(link)
        status = self.check(self.target.api.get("/status"), 200)
        self.assertIn("1 of the 3 links", status["state_problem"])
        self.assertTrue(self.put_again(gone)["ready"])
        self.assert_mine(gone)

    def test_a_newer_format_wants_the_newer_program(self):
        link = self.written("pc-new")
        self.target.daemon.stop()
        path = self.target.state_dir / "links.json"
        good = path.read_text()
        path.write_text(json.dumps({**json.loads(good), "format": 99}))
        self.target.daemon.start(wait_ready=False)
        self.assertEqual(self.target.daemon.wait(), 1)
        self.assertIn("newer program", self.target.daemon.log())
        path.write_text(good)
        self.target.start()
        self.assert_mine(link)

    def test_a_disk_over_another_version_is_not_replaced(self):
        link = self.written("pc-moved")
        other = self.target.import_image(os.urandom(MIB), "other.raw")
        self.target.daemon.stop()
        os.remove(self.target.state_dir / "links.json")
        self.target.start()
        body = self.target.link_body("pc-moved", other, "keep")
        view = self.check(self.target.api.put(f"/links/{link['id']}", body), 200)
        self.assertFalse(view["ready"])
        self.assertIn("was made over version", view["problem"])
        self.assertTrue((self.overlays / link["id"] / "lun0-g1" / "journal").exists())
        self.assertTrue(self.put_again(link)["ready"])
        self.assert_mine(link)

    def test_a_disk_that_cannot_be_opened_is_not_replaced_by_one_over_another_version(self):
        link = self.written("pc-shut")
        other = self.target.import_image(os.urandom(MIB), "other.raw")
        self.target.daemon.stop()
        journal = self.overlays / link["id"] / "lun0-g1" / "journal"
        good = journal.read_bytes()
        journal.write_bytes(b"?" * 4096 + good[4096:])
        self.target.start()
        self.assertFalse(self.target.view(link)["ready"])
        body = self.target.link_body("pc-shut", other, "keep")
        self.check(self.target.api.put(f"/links/{link['id']}", body), 409, "overlay-has-blocks")
        self.target.daemon.stop()
        journal.write_bytes(good)
        self.target.start()
        self.assert_mine(link)

    def test_an_orphan_of_a_keep_disk_goes_to_the_trash(self):
        link = self.written("pc-orphan")
        self.target.daemon.stop()
        path = self.target.state_dir / "links.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "links": []}))
        discard = self.overlays / str(uuid.uuid4()) / "lun0-g1"
        discard.mkdir(parents=True)
        self.target.start()
        self.assertIn(link["id"], [entry["link_id"] for entry in self.trash()])
        self.assertFalse((self.overlays / link["id"]).exists())


class Registry(TrashCase):
    def offer(self, registry, revision=10, adopt=False, previous=None):
        return self.check(self.target.api.put("/registry", {
            "id": registry["id"], "mark": registry["mark"], "previous_mark": previous,
            "revision": revision, "adopt": adopt}), 200)["match"]

    @staticmethod
    def new():
        return {"id": str(uuid.uuid4()), "mark": str(uuid.uuid4())}

    def test_its_own_is_told_from_others_and_from_its_past(self):
        mine = self.new()
        self.target.revision = 5
        self.target.put_link("pc-1", self.version)
        self.assertEqual(self.offer(mine), "own")           # the first that comes
        self.assertEqual(self.offer(self.new()), "other")
        later = {**mine, "mark": str(uuid.uuid4())}
        self.assertEqual(self.offer(later, previous=mine["mark"]), "own")
        self.assertEqual(self.offer(mine), "older")         # a copy of before
        self.assertEqual(self.offer(later, revision=5), "older")  # the target is at 6
        self.target.restart_after_kill()
        self.assertEqual(self.offer(later), "own")
        self.assertEqual(self.offer(self.new()), "other")
        adopted = self.new()
        self.assertEqual(self.offer(adopted, adopt=True), "own")
        self.assertEqual(self.offer(later), "other")

    def test_one_from_before_registries_had_names_must_be_as_far_as_the_links(self):
        self.target.revision = 20
        self.target.put_link("pc-1", self.version)
        self.assertEqual(self.offer(self.new(), revision=3), "other")
        self.assertEqual(self.offer(self.new(), revision=21), "own")

    def test_a_damaged_file_makes_the_next_registry_a_stranger(self):
        mine = self.new()
        link = self.written("pc-1")
        self.assertEqual(self.offer(mine), "own")
        self.target.daemon.stop()
        pathlib.Path(self.target.state_dir / "registry.json").write_text("}")
        self.target.start()
        self.assertEqual(self.offer(mine), "other")
        self.assertEqual(self.offer(mine, adopt=True), "own")
        self.assert_mine(link)

    def test_a_body_that_is_none_is_refused(self):
        good = {**self.new(), "previous_mark": None, "revision": 1}
        for change in ({"id": "x"}, {"mark": "y" * 36}, {"revision": -1}, {"previous_mark": "z"}, {"more": 1}):
            self.check(self.target.api.put("/registry", {**good, **change}), 400, "invalid")
        self.assertIsNone(self.check(self.target.api.get("/registry"), 200)["registry"])


if __name__ == "__main__":
    unittest.main()
