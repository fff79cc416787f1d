"""Links of several disks at goldlink-target: each LUN has its own version, policy, quota and life."""

import os
import unittest
import uuid

from harness import iscsi, processes, target_case as target
from harness.target_case import qemu_io, run

MIB = 1 << 20


class Disks(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.contents = [os.urandom(MIB) + bytes((2 + number) * MIB) for number in range(3)]
        self.versions = [self.target.import_image(content, f"{number}.raw")
                         for number, content in enumerate(self.contents)]

    def disks(self, *policies):
        return [{"lun": lun, "version": self.versions[lun], "policy": policy, "quota_bytes": None}
                for lun, policy in enumerate(policies)]

    def put(self, name, disks, link_id=None):
        body = {**self.target.link_body(name, self.versions[0]), "disks": disks}
        return self.target.api.put(f"/links/{link_id or uuid.uuid4()}", body)

    def put_link(self, name, disks, link_id=None):
        view = self.check(self.put(name, disks, link_id), 200)
        self.assertTrue(view["ready"], view)
        return view

    def login(self, link, username="user", secret=target.SECRET):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], username, secret)
        for disk in link["disks"]:  # power on is told by each LUN
            while True:
                try:
                    initiator.scsi(bytes(6), lun=disk["lun"])
                    break
                except iscsi.CheckCondition as told:
                    self.assertEqual(told.key, 6)
        return initiator

    def login_boot(self, link):
        boot = self.target.boot(link)
        return self.login(link, boot["username"], boot["secret"])

    def leave(self, initiator, link):
        initiator.logout()
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")

    def write_all(self, initiator, pattern):
        for lun in range(3):
            initiator.write(0, pattern * 4096, lun=lun, fua=True)

    def first_blocks(self, initiator):
        """Of each LUN: the pattern that was written, or None for the image's own."""
        found = []
        for lun in range(3):
            data = initiator.read(0, 8, lun=lun)
            found.append(None if data == self.contents[lun][:4096] else data[:1])
            self.assertTrue(found[-1] is None or data == found[-1] * 4096)
        return found

    def overlays(self, link):
        return sorted(path.name for path in (self.target.state_dir / "overlays" / link["id"]).iterdir())

    def test_each_lun_is_the_disk_of_its_own_version(self):
        link = self.put_link("pc-001", self.disks("discard", "keep", "super"))
        with self.login(link) as initiator:
            luns = initiator.scsi(bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]), 256)
            self.assertEqual([luns[at + 1] for at in range(8, len(luns), 8)], [0, 1, 2])
            serials = {initiator.scsi(bytes([0x12, 1, 0x80, 0, 255, 0]), 255, lun=lun) for lun in range(3)}
            self.assertEqual(len(serials), 3)
            with self.assertRaises(iscsi.CheckCondition) as absent:
                initiator.scsi(bytes(6), lun=3)
            self.assertEqual((absent.exception.key, absent.exception.asc), (5, (0x25, 0)))
        for lun, content in enumerate(self.contents):
            copy = self.folder / f"copy-{lun}.raw"
            run("qemu-img", "convert", "-O", "raw", self.target.url(link, lun=lun), copy)
            self.assertEqual(copy.read_bytes(), content)
        for lun in range(3):
            qemu_io(self.target.url(link, lun=lun), f"write -P {lun + 1} 1M 64k")
        for lun in range(3):
            qemu_io(self.target.url(link, lun=lun), f"read -P {lun + 1} 1M 64k")

    def test_a_boot_makes_the_discard_disks_fresh_and_keeps_the_kept_ones(self):
        link = self.put_link("pc-001", self.disks("discard", "keep", "discard"))
        self.write_all(self.login_boot(link), b"A")
        again = self.login_boot(link)
        self.assertEqual(self.first_blocks(again), [None, b"A", None])
        processes.wait_until(lambda: self.overlays(link) == ["lun0-g3", "lun1-g1", "lun2-g3"],
                             "the overlays of the boot before are gone")

    def test_a_killed_target_loses_no_write_of_any_disk(self):
        link = self.put_link("pc-001", self.disks("discard", "keep", "super"))
        boot = self.target.boot(link)
        self.write_all(self.login(link, boot["username"], boot["secret"]), b"B")
        self.target.restart_after_kill()
        self.assertEqual(self.first_blocks(self.login(link, boot["username"], boot["secret"])), [b"B"] * 3)

    def test_a_reset_of_one_lun_leaves_the_others(self):
        for lun, policies in ((1, ("discard", "keep", "super")), (0, ("discard", "keep", "super")),
                              (2, ("keep", "keep", "discard"))):
            with self.subTest(lun=lun):
                link = self.put_link(f"pc-{lun}", self.disks(*policies))
                initiator = self.login(link)
                self.write_all(initiator, b"C")
                path = f"/links/{link['id']}/reset"
                self.assertEqual(self.check(self.target.api.post(path, {"lun": lun}), 409)["type"], "link-in-use")
                self.leave(initiator, link)
                view = self.check(self.target.api.post(path, {"lun": lun}), 200)
                self.assertEqual([disk["overlay"]["used_bytes"] for disk in view["running"]],
                                 [0 if each == lun else 4096 for each in range(3)])
                self.assertEqual(view["overlay"]["used_bytes"], 8192)
                self.target.restart_after_kill()
                self.assertEqual(self.first_blocks(self.login(link)),
                                 [None if each == lun else b"C" for each in range(3)])

    def test_a_reset_of_a_lun_that_is_not_there_is_refused(self):
        link = self.put_link("pc-001", self.disks("discard", "keep"))
        path = f"/links/{link['id']}/reset"
        self.assertEqual(self.check(self.target.api.post(path, {"lun": 2}), 404)["type"], "no-such-lun")
        for wrong in (-1, 256, "1", 1.5):
            self.check(self.target.api.post(path, {"lun": wrong}), 400)

    def test_a_prepared_boot_does_not_bring_a_reset_kept_disk_back(self):
        link = self.put_link("pc-001", self.disks("discard", "keep", "keep"))
        initiator = self.login(link)
        self.write_all(initiator, b"D")
        self.leave(initiator, link)
        boot = self.target.boot(link)
        self.check(self.target.api.post(f"/links/{link['id']}/reset", {"lun": 2}), 200)
        with self.assertRaises(iscsi.LoginFailed):
            self.login(link, boot["username"], boot["secret"])
        # The reset of a discard disk leaves a prepared boot alone: it has a fresh one anyway.
        boot = self.target.boot(link)
        self.check(self.target.api.post(f"/links/{link['id']}/reset", {"lun": 0}), 200)
        self.assertEqual(self.first_blocks(self.login(link, boot["username"], boot["secret"])), [None, b"D", None])

    def commit(self, link, **body):
        return self.target.task(self.target.api.post(f"/links/{link['id']}/commit", {"id": str(uuid.uuid4()), **body}))

    def test_one_super_disk_is_committed_and_the_others_stay(self):
        link = self.put_link("master", self.disks("super", "keep", "super"))
        initiator = self.login(link)
        self.write_all(initiator, b"E")
        self.leave(initiator, link)
        report = self.commit(link)
        self.assertEqual(report["state"], "failed", report)
        self.assertIn("luns 0, 2; say which", report["error"]["message"])
        report = self.commit(link, lun=1)
        self.assertIn("no disk of policy super with lun 1", report["error"]["message"])
        report = self.commit(link, lun=2)
        self.assertEqual(report["state"], "done", report)
        made = report["version"]["digest"]
        view = self.target.view(link)
        self.assertEqual([disk["version"] for disk in view["running"]], [*self.versions[:2], made])
        self.assertEqual([disk["overlay"]["used_bytes"] for disk in view["running"]], [4096, 4096, 0])
        self.assertEqual(self.first_blocks(self.login(link)), [b"E"] * 3)
        reader = self.put_link("reader", [{"lun": 0, "version": made, "policy": "discard", "quota_bytes": None}])
        copy = self.folder / "copy.raw"
        run("qemu-img", "convert", "-O", "raw", self.target.url(reader), copy)
        self.assertEqual(copy.read_bytes(), b"E" * 4096 + self.contents[2][4096:])

    def test_a_commit_of_a_link_with_one_super_disk_needs_no_lun(self):
        link = self.put_link("master", self.disks("discard", "keep", "super"))
        initiator = self.login(link)
        self.write_all(initiator, b"F")
        self.leave(initiator, link)
        report = self.commit(link)
        self.assertEqual(report["state"], "done", report)
        self.assertEqual(self.target.view(link)["running"][2]["version"], report["version"]["digest"])

    def test_a_full_quota_of_one_disk_leaves_the_others(self):
        disks = self.disks("discard", "keep", "discard")
        disks[1]["quota_bytes"] = 64 * 1024
        link = self.put_link("pc-001", disks)
        initiator = self.login(link)
        with self.assertRaises(iscsi.CheckCondition) as full:
            for block in range(0, 512, 8):
                initiator.write(block, os.urandom(4096), lun=1)
        self.assertEqual((full.exception.key, full.exception.asc), (7, (0x27, 7)))
        for lun in (0, 2):
            initiator.write(0, b"G" * 65536 * 2, lun=lun)
        self.assertEqual(self.target.wait_event("space_warning", link_id=link["id"])["data"]["lun"], 1)
        self.assertEqual(self.target.view(link)["running"][1]["overlay"]["quota_bytes"], 64 * 1024)

    def test_a_quota_that_is_raised_counts_at_once_and_stays(self):
        disks = self.disks("discard", "keep", "discard")
        disks[0]["quota_bytes"] = disks[1]["quota_bytes"] = 8 * 4096
        link = self.put_link("pc-001", disks)
        initiator = self.login(link)

        def blocks_taken(lun, blocks):
            for taken in range(blocks):
                try:
                    initiator.write(taken * 8, os.urandom(4096), lun=lun, fua=True)
                except iscsi.CheckCondition as full:
                    if full.key == 6:  # a unit attention: the space got short
                        initiator.write(taken * 8, os.urandom(4096), lun=lun, fua=True)
                        continue
                    self.assertEqual((full.key, full.asc), (7, (0x27, 7)))
                    return taken
            return blocks

        self.assertEqual([blocks_taken(lun, 20) for lun in (0, 1)], [8, 8])
        disks[0]["quota_bytes"], disks[1]["quota_bytes"] = 16 * 4096, None
        generation = self.put_link("pc-001", disks, link["id"])["generation"]
        self.assertEqual(generation, link["generation"], "nothing but the quota has changed")
        self.assertEqual([blocks_taken(lun, 20) for lun in (0, 1)], [16, 20])
        quotas = lambda: [disk["overlay"]["quota_bytes"] for disk in self.target.view(link)["running"][:2]]  # noqa: E731
        self.assertEqual(quotas(), [16 * 4096, 4 * MIB])
        self.target.restart_after_kill()
        self.assertEqual(quotas(), [16 * 4096, 4 * MIB])

    def test_a_new_version_of_one_discard_disk_comes_with_the_next_boot(self):
        link = self.put_link("pc-001", self.disks("discard", "keep", "discard"))
        running = self.login_boot(link)
        self.write_all(running, b"H")
        disks = self.disks("discard", "keep", "discard")
        disks[2]["version"] = self.versions[0]
        self.put_link("pc-001", disks, link["id"])
        self.assertEqual(self.first_blocks(running), [b"H"] * 3)
        again = self.login_boot(link)
        self.assertEqual(again.read(0, 8, lun=1), b"H" * 4096)
        self.assertEqual(again.read(0, 8, lun=2), self.contents[0][:4096])

    def test_a_disk_is_added_and_removed_while_nobody_is_logged_in(self):
        link = self.put_link("pc-001", self.disks("discard", "keep"))
        initiator = self.login(link)
        initiator.write(0, b"I" * 4096, lun=1, fua=True)
        more = self.disks("discard", "keep", "keep")
        self.assertEqual(self.check(self.put("pc-001", more, link["id"]), 409)["type"], "link-in-use")
        self.leave(initiator, link)
        link = self.put_link("pc-001", more, link["id"])
        initiator = self.login(link)
        self.assertEqual(self.first_blocks(initiator), [None, b"I", None])
        self.leave(initiator, link)
        refused = self.check(self.put("pc-001", self.disks("discard"), link["id"]), 409)
        self.assertEqual(refused["type"], "overlay-has-blocks")
        self.assertIn("lun 1", refused["detail"])
        self.check(self.target.api.post(f"/links/{link['id']}/reset", {"lun": 1}), 200)
        self.put_link("pc-001", self.disks("discard"), link["id"])
        processes.wait_until(lambda: len(self.overlays(link)) == 1, "the overlays of the removed disks are gone")

    def test_disks_that_make_no_link_are_refused(self):
        sixteen = [{"lun": lun, "version": self.versions[0], "policy": "discard"} for lun in range(16)]
        link = self.put_link("pc-016", sixteen)
        self.login(link).write(0, b"J" * 512, lun=15)
        for disks, said in (
                ([], "at least one disk"),
                (self.disks("discard")[:0] + self.disks("discard", "keep")[1:], "no lun 0"),
                (self.disks("discard") * 2, "lun 0 is given twice"),
                ([*sixteen, {**sixteen[0], "lun": 16}], "disks"),
                ([{**sixteen[0], "lun": 256}, sixteen[1]], "lun"),
                ([{**sixteen[0], "policy": "forever"}], "policy"),
                ([{**sixteen[0], "speed": 1}], "speed")):
            with self.subTest(said=said):
                refused = self.check(self.put("bad", disks), 400)
                self.assertIn(said, refused["detail"])
        # A second full use: the refused requests left nothing behind.
        self.assertEqual([view["alias"] for view in self.target.api.get("/links").json], ["pc-016"])

    def test_a_version_is_in_use_by_any_lun(self):
        link = self.put_link("pc-001", self.disks("discard", "keep", "discard"))
        refused = self.check(self.target.api.delete(f"/versions/{self.versions[2]}"), 409)
        self.assertEqual(refused["type"], "version-in-use")
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        self.check(self.target.api.delete(f"/versions/{self.versions[2]}"), 204)


if __name__ == "__main__":
    unittest.main()
