"""Links of several disks over REST: what the registry keeps of them, what the target is told, what is refused."""

import pathlib
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.processes import wait_until  # noqa: E402
from manager_case import ManagerCase  # noqa: E402


class Disks(ManagerCase):
    def setUp(self):
        super().setUp()
        self.system, self.personal, self.games = (f"{self.name}-{kind}" for kind in ("system", "personal", "games"))
        for image in (self.system, self.personal, self.games):
            self.upload(image)

    def digest(self, image, number=1):
        return next(version["digest"] for version in self.check(self.api.get(f"/images/{image}"), 200)["versions"]
                    if version["number"] == number)

    def add_link(self, **members):
        return self.add_lease(self.system, disks=[
            {"lun": 1, "image": self.personal, "policy": "keep", "quota_bytes": 1 << 20},
            {"lun": 2, "image": f"{self.games}:production"}], **members)

    def held(self, link):
        """What the target has been told of the disks: (version, policy, quota) by LUN."""
        return {disk["lun"]: (disk["version"], disk["policy"], disk["quota_bytes"])
                for disk in self.target.links[link["id"]]["disks"]}

    def versions(self, link):
        shown = self.check(self.api.get(f"/links/{link['id']}"), 200)
        return {disk["lun"]: disk["version"] for disk in shown["disks"]}

    def test_a_link_of_three_disks(self):
        link = self.add_link()
        self.assertEqual(self.held(link), {0: (self.digest(self.system), "discard", None),
                                           1: (self.digest(self.personal), "keep", 1 << 20),
                                           2: (self.digest(self.games), "discard", None)})
        self.assertEqual((link["image"], link["policy"], link["lun"]), (self.system, "discard", 0))
        self.assertEqual([(disk["lun"], disk["image"], disk["version"], disk["channel"], disk["policy"])
                          for disk in link["disks"]],
                         [(0, self.system, 1, "production", "discard"), (1, self.personal, 1, "production", "keep"),
                          (2, self.games, 1, "production", "discard")])
        self.assertEqual([disk["url"] for disk in link["disks"]],
                         [link["url"].removesuffix("/0") + f"/{lun}" for lun in range(3)])
        self.assertEqual([disk["overlay"]["used_bytes"] for disk in link["disks"]], [0, 4096, 8192])
        listed = self.api.get_all(f"/links?image={self.games}")
        self.assertEqual([item["disks"] for item in listed], [link["disks"]])

    def test_a_client_gets_its_data_disks_and_a_link_without_any_has_one_disk(self):
        self.add_client(self.name)
        link = self.check(self.api.post("/links", {"client": self.name, "image": self.system, "policy": "super",
                                                  "disks": [{"lun": 7, "image": f"{self.games}@1"}]}), 201)
        self.assertEqual([(disk["lun"], disk["policy"], disk["channel"]) for disk in link["disks"]],
                         [(0, "super", "production"), (7, "discard", None)])
        self.assertEqual([disk["lun"] for disk in self.add_lease(self.system)["disks"]], [0])
        self.assertEqual([disk["lun"] for disk in self.add_lease(self.system, disks=[])["disks"]], [0])

    def test_disks_that_make_no_link_are_refused(self):
        disk = {"lun": 1, "image": self.games}
        before = {link["id"] for link in self.api.get_all("/links?limit=1000")}
        for disks, said in (
                ([{**disk, "lun": 0}], "lun 0 is the disk that field 'image' names"),
                ([{**disk, "lun": 256}], "disks[0]"),
                ([{**disk, "lun": -1}], "disks[0]"),
                ([{**disk, "lun": "1"}], "disks[0]"),
                ([{"image": self.games}], "lun"),
                ([{"lun": 1}], "image"),
                ([disk, {**disk, "lun": 2}, disk], "disks[2]: lun 1 is given twice"),
                ([{**disk, "lun": lun} for lun in range(1, 17)], "at most 16 disks, lun 0 included"),
                ([{**disk, "policy": "forever"}], "forever"),
                ([{**disk, "image": "a@x"}], "a@x"),
                ([{**disk, "quota_bytes": 0}], "quota_bytes"),
                ([{**disk, "speed": 1}], "speed"),
                ([1], "disks[0]"),
                ({"lun": 1}, "disks")):
            with self.subTest(said=said):
                refused = self.check(self.api.post("/links", {"lease": "1m", "image": self.system, "disks": disks}),
                                     400, "invalid")
                self.assertIn(said, refused["detail"])
                self.assertEqual(refused["field"], "disks")
        for absent in ("none", f"{self.games}:nightly", f"{self.games}@9"):
            refused = self.check(self.api.post("/links", {"lease": "1m", "image": self.system,
                                                          "disks": [{"lun": 3, "image": absent}]}), 409, "image-not-ready")
            self.assertIn("lun 3", refused["detail"])
            self.assertEqual(refused["field"], "disks")
        self.check(self.api.post("/links", {"lease": "1m", "disks": [disk]}), 400, "invalid")  # no LUN 0
        # A second full use: nothing of the refused links is left, and the largest allowed one is made.
        self.assertEqual({link["id"] for link in self.api.get_all("/links?limit=1000")}, before)
        largest = self.add_lease(self.system, disks=[{**disk, "lun": lun * 17} for lun in range(1, 16)])
        self.assertEqual([each["lun"] for each in largest["disks"]], [lun * 17 for lun in range(16)])

    def test_an_image_of_any_lun_is_in_use(self):
        link = self.add_link()
        for image in (self.personal, self.games):
            refused = self.check(self.api.delete(f"/images/{image}"), 409)
            self.assertEqual(refused["blocked_by"], [f"lease {link['id']}"])
            self.assertIn(f"lease {link['id']}",
                          self.check(self.api.delete(f"/images/{image}/versions/1"), 409)["blocked_by"])
        self.check(self.api.delete(f"/images/{self.games}/channels/production"), 409)
        self.check(self.api.delete(f"/links/{link['id']}"), 204)
        for image in (self.personal, self.games):
            self.check(self.api.delete(f"/images/{image}"), 204)

    def test_each_disk_follows_its_own_channel(self):
        link = self.add_link()
        for image in (self.personal, self.games):
            self.upload(image)
            self.check(self.api.put(f"/images/{image}/channels/production", {"version": 2}), 200)
        wait_until(lambda: self.held(link)[2][0] == self.digest(self.games, 2), "the game disk follows")
        self.assertEqual(self.held(link)[1][0], self.digest(self.personal))  # kept: only once it is reset
        self.assertEqual(self.versions(link), {0: 1, 1: 1, 2: 2})
        self.check(self.api.post(f"/links/{link['id']}/reset", {"lun": 0}), 200)
        self.assertEqual(self.versions(link), {0: 1, 1: 1, 2: 2})
        shown = self.check(self.api.post(f"/links/{link['id']}/reset", {"lun": 1}), 200)
        self.assertEqual([disk["version"] for disk in shown["disks"]], [1, 2, 2])
        self.assertEqual(self.target.links[link["id"]]["reset_lun"], 1)
        wait_until(lambda: self.held(link)[1][0] == self.digest(self.personal, 2), "the personal disk follows")
        self.check(self.api.post(f"/links/{link['id']}/reset"), 200)
        self.assertIsNone(self.target.links[link["id"]]["reset_lun"])

    def test_a_reset_or_commit_of_a_lun_that_is_not_there_is_refused(self):
        link = self.add_link()
        for call in ("reset", "commit"):
            path = f"/links/{link['id']}/{call}"
            refused = self.check(self.api.post(path, {"lun": 3}), 404, "no-such-lun")
            self.assertEqual(refused["field"], "lun")
            for wrong in (-1, 256, "1"):
                self.check(self.api.post(path, {"lun": wrong}), 400, "invalid")
        self.assertNotIn("resets", self.target.links[link["id"]])

    def test_the_committed_disk_runs_on_over_its_new_version(self):
        link = self.add_lease(self.system, policy="super", disks=[
            {"lun": 1, "image": self.personal, "policy": "keep"}, {"lun": 2, "image": self.games, "policy": "super"}])
        path = f"/links/{link['id']}/commit"
        refused = self.check(self.api.post(path), 409, "several-super-disks")
        self.assertIn("lun 0 super", refused["detail"])
        self.assertIn("lun 1 keep", self.check(self.api.post(path, {"lun": 1}), 409, "not-super")["detail"])
        task = self.check(self.api.post(path, {"lun": 2}), 202)
        self.assertEqual(task["subject"], f"{self.games}@2")
        self.wait_task(task)
        self.assertEqual(self.target.links[link["id"]]["commit_lun"], 2)
        self.assertEqual(self.versions(link), {0: 1, 1: 1, 2: 2})
        wait_until(lambda: self.held(link)[2][0] == self.digest(self.games, 2), "the target is told what it made")
        self.assertEqual(self.held(link)[0][0], self.digest(self.system))

    def test_a_disc_is_a_cd_rom_of_the_link(self):
        disc = f"{self.name}-disc"
        self.upload(disc, query="?format=iso")
        self.assertEqual(self.check(self.api.get(f"/images/{disc}"), 200)["kind"], "iso")
        link = self.add_lease(self.system, policy="keep", disks=[{"lun": 1, "image": disc}])
        shown = link["disks"][1]
        self.assertEqual((shown["type"], shown["policy"], shown["logical_block_bytes"], shown["overlay"]),
                         ("cdrom", "discard", 2048, None))
        self.assertEqual((link["disks"][0]["type"], link["disks"][0]["logical_block_bytes"]), ("disk", 512))
        held = self.target.links[link["id"]]["disks"]
        self.assertEqual((held[1]["type"], "logical_block_bytes" in held[1]), ("cdrom", False))
        self.assertEqual((held[0].get("type"), held[0]["logical_block_bytes"]), (None, 512))
        live = self.add_lease(disc)
        self.assertEqual(live["disks"][0]["type"], "cdrom")
        for extra in ({"policy": "keep"}, {"policy": "super"}, {"quota_bytes": 4096}, {"logical_block_bytes": 4096}):
            refused = self.check(self.api.post("/links", {"lease": "1m", "image": self.system, "disks": [
                {"lun": 1, "image": disc, **extra}]}), 400, "invalid")
            self.assertIn("is a disc", refused["detail"])
        self.check(self.api.post("/links", {"lease": "1m", "image": disc, "policy": "keep"}), 400, "invalid")

    def test_an_image_is_of_one_kind(self):
        disc = f"{self.name}-disc"
        self.upload(disc, query="?format=iso")
        refused = self.check(self.api.put(f"/images/{disc}/content", b"x" * 4096), 409, "other-kind")
        self.assertIn("kind iso", refused["detail"])
        self.check(self.api.post(f"/images/{disc}/blank", {"size_bytes": 1 << 20}), 409, "other-kind")
        self.check(self.api.put(f"/images/{self.system}/content?format=iso", b"x" * 4096), 409, "other-kind")
        self.upload(disc, query="?format=iso")
        self.target.import_error = "it is no ISO image"
        try:
            self.upload(f"{self.name}-new", query="?format=iso", state="failed")
        finally:
            self.target.import_error = None
        self.upload(f"{self.name}-new")  # what failed does not hold the image to its kind
        self.assertEqual(self.check(self.api.get(f"/images/{self.name}-new"), 200)["kind"], "disk")

    def test_a_group_of_kept_disks_may_have_a_live_disc(self):
        disc = f"{self.name}-disc"
        self.upload(disc, query="?format=iso")
        self.check(self.api.post("/groups", {"name": self.name, "image": disc, "policy": "keep"}), 201)
        client = self.add_client(self.name, group=self.name)
        link = self.check(self.api.get(f"/links/{client['link_id']}"), 200)
        self.assertEqual((link["disks"][0]["type"], link["policy"]), ("cdrom", "discard"))

    def test_disks_of_4_kib_blocks(self):
        link = self.add_lease(self.system, logical_block_bytes=4096, disks=[
            {"lun": 1, "image": self.games, "logical_block_bytes": 4096}, {"lun": 2, "image": self.personal}])
        self.assertEqual([disk["logical_block_bytes"] for disk in link["disks"]], [4096, 4096, 512])
        self.assertEqual([disk["logical_block_bytes"] for disk in self.target.links[link["id"]]["disks"]], [4096, 4096, 512])
        for bad in (0, 1024, 2048, 8192, "4096"):
            self.check(self.api.post("/links", {"lease": "1m", "image": self.system, "logical_block_bytes": bad}), 400, "invalid")
            self.check(self.api.post("/links", {"lease": "1m", "image": self.system, "disks": [
                {"lun": 1, "image": self.games, "logical_block_bytes": bad}]}), 400, "invalid")

    def test_an_image_that_is_no_whole_blocks_of_4_kib_keeps_its_512(self):
        odd = f"{self.name}-odd"
        self.upload(odd, bytes(4096 + 512))
        for wanted in ({"image": odd, "logical_block_bytes": 4096},
                       {"image": self.system, "disks": [{"lun": 3, "image": odd, "logical_block_bytes": 4096}]}):
            refused = self.check(self.api.post("/links", {"lease": "1m", **wanted}), 400, "invalid")
            self.assertIn(f"image {odd}@1 has 4608 bytes", refused["detail"])
        self.assertEqual(self.add_lease(odd)["disks"][0]["logical_block_bytes"], 512)

    def test_only_a_link_with_a_disk_and_a_disc_installs(self):
        disc = f"{self.name}-disc"
        self.upload(disc, query="?format=iso")
        self.add_client(self.name)
        for members in ({"image": self.system}, {"image": disc},
                        {"image": self.system, "disks": [{"lun": 1, "image": self.games}]},
                        {"image": disc, "disks": [{"lun": 1, "image": self.games}]}):
            refused = self.check(self.api.post("/links", {"client": self.name, "install": True, **members}), 400, "invalid")
            self.assertEqual(refused["field"], "install")
        self.check(self.api.post("/links", {"lease": "1m", "image": self.system, "install": True,
                                            "disks": [{"lun": 1, "image": disc}]}), 400, "invalid")
        link = self.check(self.api.post("/links", {"client": self.name, "image": self.system, "install": True,
                                                  "disks": [{"lun": 9, "image": disc}, {"lun": 4, "image": disc}]}), 201)
        wait_until(lambda: any(client.get("install_lun") == 4 and client["link_id"] == link["id"]
                               for client in self.pxe.table["clients"]), "pxe starts the first disc")

    def test_a_commit_of_the_only_super_disk_needs_no_lun(self):
        link = self.add_lease(self.system, disks=[{"lun": 4, "image": self.games, "policy": "super"}])
        self.wait_task(self.check(self.api.post(f"/links/{link['id']}/commit"), 202))
        self.assertEqual(self.target.links[link["id"]]["commit_lun"], 4)
        self.assertEqual(self.versions(link), {0: 1, 4: 2})


if __name__ == "__main__":
    unittest.main()
