"""Links of goldlink-target: creation, isolation, boots and generations, resets, commits."""

import os
import unittest
import uuid

from harness import iscsi, processes, target_case as target
from harness.target_case import qemu_io, run

MIB = 1 << 20


class Links(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.image = os.urandom(3 * MIB) + bytes(5 * MIB)
        self.version = self.target.import_image(self.image)

    def login(self, link, username="user", secret=target.SECRET, isid=None):
        initiator = iscsi.Initiator(self.target.portal, isid=isid or iscsi.random_isid())
        self.addCleanup(initiator.close)
        return initiator.login(link["iqn"], username, secret)

    def login_boot(self, link, boot, isid=None):
        return self.login(link, boot["username"], boot["secret"], isid)

    def test_an_imported_image_is_read_back_by_libiscsi_as_it_was(self):
        link = self.target.put_link("pc-001", self.version)
        run("iscsi-inq", self.target.url(link))
        copy = self.folder / "copy.raw"
        run("qemu-img", "convert", "-O", "raw", self.target.url(link), copy)
        self.assertEqual(copy.read_bytes(), self.image)

    def test_links_over_one_version_do_not_see_each_other_and_the_version_stays(self):
        one, two = self.target.put_link("pc-001", self.version), self.target.put_link("pc-002", self.version)
        for pattern, link in ((1, one), (2, two)):
            qemu_io(self.target.url(link), f"write -P {pattern} 64k 256k", f"write -P {pattern} 5M 64k", "flush")
        for pattern, link in ((1, one), (2, two)):
            qemu_io(self.target.url(link), f"read -P {pattern} 64k 256k", f"read -P {pattern} 5M 64k",
                    "read -P 0 6M 64k")
        report = self.target.task(self.target.api.post(f"/versions/{self.version}/verify", {"id": str(uuid.uuid4())}))
        self.assertEqual((report["state"], report["findings"]), ("done", []), report)
        exported = self.folder / "exported.raw"
        report = self.target.task(self.target.api.post(
            f"/versions/{self.version}/export", {"id": str(uuid.uuid4()), "path": str(exported), "format": "raw"}))
        self.assertEqual(report["state"], "done", report)
        self.assertEqual(exported.read_bytes(), self.image)

    def test_a_boot_gets_a_fresh_disk_and_ends_the_session_before_only_when_it_logs_in(self):
        link = self.target.put_link("pc-001", self.version)
        first = self.target.boot(link)
        self.assertEqual((first["iqn"], first["lun"], first["policy"], first["version"]),
                         (link["iqn"], 0, "discard", self.version))
        self.assertTrue(12 <= len(first["secret"]) <= 16)
        old = self.login_boot(link, first)
        old.write(0, b"A" * 4096)
        second = self.target.boot(link)
        self.assertEqual(old.read(0, 8), b"A" * 4096)  # a prepared boot disturbs nobody
        view = self.target.view(link)
        self.assertEqual((view["generation"], view["pending_generation"]), (first["generation"], second["generation"]))
        new = self.login_boot(link, second)
        self.assertEqual(new.read(0, 8), self.image[:4096])
        self.assertTrue(old.is_closed())
        view = self.target.view(link)
        self.assertEqual((view["generation"], view["pending_generation"]), (second["generation"], None))
        with self.assertRaises(iscsi.LoginFailed):  # the credential ended with its generation
            self.login_boot(link, first)
        overlays = self.target.state_dir / "overlays" / link["id"]
        processes.wait_until(lambda: len(list(overlays.iterdir())) == 1, "the old overlay is deleted")

    def test_a_reconnect_of_the_same_boot_keeps_its_disk(self):
        link = self.target.put_link("pc-001", self.version)
        boot = self.target.boot(link)
        self.login_boot(link, boot).write(8, b"B" * 4096)
        self.assertEqual(self.login_boot(link, boot).read(8, 8), b"B" * 4096)

    def test_of_two_quick_boots_the_newest_wins_and_the_running_one_stays(self):
        link = self.target.put_link("pc-001", self.version)
        running = self.login(link)
        running.write(0, b"C" * 512)
        stale, newest = self.target.boot(link), self.target.boot(link)
        with self.assertRaises(iscsi.LoginFailed):
            self.login_boot(link, stale)
        self.assertEqual(running.read(0, 1), b"C" * 512)
        self.assertEqual(self.login_boot(link, newest).read(0, 1), self.image[:512])
        self.assertTrue(running.is_closed())

    def test_failed_logins_do_not_disturb_the_running_system(self):
        link = self.target.put_link("pc-001", self.version)
        running = self.login(link)
        boot = self.target.boot(link)
        for _ in range(20):
            with self.assertRaises(iscsi.LoginFailed):
                self.login(link, boot["username"], "not the secret!!")
        running.write(0, b"D" * 512)
        self.assertEqual(running.read(0, 1), b"D" * 512)
        self.assertEqual(self.target.view(link)["pending_generation"], boot["generation"])

    def test_keep_keeps_over_boots_and_the_old_session_ends(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        old = self.login_boot(link, self.target.boot(link))
        old.write(0, b"E" * 4096, fua=True)
        new = self.login_boot(link, self.target.boot(link))
        self.assertEqual(new.read(0, 8), b"E" * 4096)
        self.assertTrue(old.is_closed())

    def test_the_stages_of_a_boot_are_events(self):
        link = self.target.put_link("pc-001", self.version)
        boot_id = str(uuid.uuid4())
        boot = self.check(self.target.api.post(f"/links/{link['id']}/boots", {"boot_id": boot_id}), 200)
        self.login_boot(link, boot, iscsi.ipxe_isid()).logout()
        self.login_boot(link, boot, iscsi.ipxe_isid())
        system = self.login_boot(link, boot, bytes.fromhex("00023d010000"))
        system.write(0, bytes(512))
        system.logout()
        self.target.wait_event("session_end", why="logout", isid="00023d010000")
        kinds = [event["kind"] for event in self.target.events() if event["boot_id"] == boot_id]
        self.assertEqual(kinds, ["login", "session_end", "ipxe_login", "os_login", "first_write", "session_end"])

    def test_reset_needs_force_while_someone_is_logged_in(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        initiator = self.login(link)
        initiator.write(0, b"F" * 4096)
        refused = self.check(self.target.api.post(f"/links/{link['id']}/reset"), 409)
        self.assertEqual(refused["type"], "link-in-use")
        self.assertIn(initiator.name, refused["detail"])
        self.assertEqual(initiator.read(0, 8), b"F" * 4096)
        self.check(self.target.api.post(f"/links/{link['id']}/reset", {"force": True}), 200)
        self.assertTrue(initiator.is_closed())
        self.assertEqual(self.login(link).read(0, 8), self.image[:4096])

    def test_reset_drops_a_prepared_boot_that_would_bring_the_overlay_back(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        self.login(link).write(0, b"G" * 512)
        boot = self.target.boot(link)
        self.check(self.target.api.post(f"/links/{link['id']}/reset", {"force": True}), 200)
        with self.assertRaises(iscsi.LoginFailed):
            self.login_boot(link, boot)
        self.assertEqual(self.login(link).read(0, 1), self.image[:512])

    def test_a_deleted_link_ends_its_sessions_and_leaves_no_file(self):
        link = self.target.put_link("pc-001", self.version)
        initiator = self.login(link)
        initiator.write(0, bytes(4096))
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        self.assertTrue(initiator.is_closed())
        self.check(self.target.api.get(f"/links/{link['id']}"), 404)
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        overlays = self.target.state_dir / "overlays" / link["id"]
        processes.wait_until(lambda: not overlays.exists(), "the overlays are deleted")
        self.check(self.target.api.delete(f"/versions/{self.version}"), 204)

    def test_a_changed_version_comes_with_the_next_boot(self):
        link = self.target.put_link("pc-001", self.version)
        running = self.login(link)
        newer = self.target.import_image(b"N" * (8 * MIB))
        body = self.target.link_body("pc-001", newer)
        view = self.check(self.target.api.put(f"/links/{link['id']}", body), 200)
        self.assertEqual((view["disks"][0]["version"], view["running"][0]["version"]), (newer, self.version))
        self.assertEqual(running.read(0, 1), self.image[:512])
        self.assertEqual(self.login_boot(link, self.target.boot(link)).read(0, 1), b"N" * 512)

    def test_a_version_changed_before_anyone_logged_in_is_there_at_once(self):
        link = self.target.put_link("pc-001", self.version)
        newer = self.target.import_image(b"M" * MIB)
        self.check(self.target.api.put(f"/links/{link['id']}", self.target.link_body("pc-001", newer)), 200)
        self.assertEqual(self.login(link).read(0, 1), b"M" * 512)

    def test_a_kept_overlay_with_blocks_refuses_another_version(self):
        link = self.target.put_link("pc-001", self.version, "keep")
        session = self.login(link)
        session.write(0, b"H" * 4096)
        newer = self.target.import_image(b"N" * MIB)
        body = self.target.link_body("pc-001", newer, "keep")
        refused = self.check(self.target.api.put(f"/links/{link['id']}", body), 409)
        self.assertEqual(refused["type"], "link-in-use")
        session.logout()
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")
        refused = self.check(self.target.api.put(f"/links/{link['id']}", body), 409)
        self.assertEqual(refused["type"], "overlay-has-blocks")
        self.check(self.target.api.post(f"/links/{link['id']}/reset"), 200)
        self.check(self.target.api.put(f"/links/{link['id']}", body), 200)
        self.assertEqual(self.login(link).read(0, 1), b"N" * 512)

    def test_a_super_link_is_committed_to_a_new_version(self):
        link = self.target.put_link("master", self.version, "super")
        editor = self.login(link)
        editor.write(2048, b"J" * 65536)
        editor.flush()
        commit = {"id": str(uuid.uuid4())}
        report = self.target.task(self.target.api.post(f"/links/{link['id']}/commit", commit))
        self.assertEqual((report["state"], report["error"]["kind"]), ("failed", "conflict"))
        self.assertIn("in use", report["error"]["message"])
        editor.logout()
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")
        commit = {"id": str(uuid.uuid4())}
        report = self.target.task(self.target.api.post(f"/links/{link['id']}/commit", commit))
        self.assertEqual(report["state"], "done", report)
        made = report["version"]["digest"]
        self.assertNotEqual(made, self.version)
        view = self.target.view(link)
        self.assertEqual((view["running"][0]["version"], view["overlay"]["used_bytes"]), (made, 0))
        expected = self.image[:MIB] + b"J" * 65536 + self.image[MIB + 65536:]
        reader = self.target.put_link("pc-001", made)
        copy = self.folder / "copy.raw"
        run("qemu-img", "convert", "-O", "raw", self.target.url(reader), copy)
        self.assertEqual(copy.read_bytes(), expected)
        self.assertEqual(self.login(link).read(2048, 1), b"J" * 512)

    def test_the_whole_set_is_made_so_and_an_older_one_refused(self):
        old = self.target.put_link("pc-001", self.version)
        ids = [str(uuid.uuid4()) for _ in range(5)]
        links = [{"id": ids[i], **self.target.link_body(f"pc-10{i}", self.version)} for i in range(5)]
        answer = self.check(self.target.api.put("/links", {"revision": 100, "links": links}), 200)
        self.assertEqual((answer["links"], answer["problems"]), (5, []))
        self.check(self.target.api.get(f"/links/{old['id']}"), 404)
        self.assertEqual(sorted(link["id"] for link in self.check(self.target.api.get("/links"), 200)), sorted(ids))
        refused = self.check(self.target.api.put("/links", {"revision": 99, "links": []}), 409)
        self.assertEqual(refused["type"], "stale-revision")
        self.assertEqual(self.target.api.get("/status").json["links"], 5)

    def test_one_bad_link_of_a_set_does_not_keep_the_others_from_serving(self):
        missing = "0" * 64
        links = [{"id": str(uuid.uuid4()), **self.target.link_body("good", self.version)},
                 {"id": str(uuid.uuid4()), **self.target.link_body("bad", missing)}]
        self.check(self.target.api.put("/links", {"revision": 9, "links": links}), 200)
        views = {view["alias"]: view for view in self.target.api.get("/links").json}
        self.assertTrue(views["good"]["ready"])
        self.assertFalse(views["bad"]["ready"])
        self.assertIn(missing, views["bad"]["problem"])
        with self.assertRaises(iscsi.LoginFailed) as failed:
            self.login(views["bad"])
        self.assertEqual(failed.exception.status, 0x0301)
        self.assertEqual(self.login(views["good"]).read(0, 1), self.image[:512])

    def test_discovery_shows_an_initiator_what_it_may_use(self):
        mine = self.target.put_link("mine", self.version, initiators=["iqn.2026-11.io.goldlink.test:initiator"])
        everyones = self.target.put_link("everyones", self.version)
        self.target.put_link("other", self.version, initiators=["iqn.2026-11.io.goldlink.test:other"])

        def found(*credential):
            with iscsi.Initiator(self.target.portal) as initiator:
                return sorted(initiator.login(None, *credential, discovery=True).send_targets())
        self.assertEqual(found(), [mine["iqn"]])
        self.assertEqual(found("user", target.SECRET), sorted([mine["iqn"], everyones["iqn"]]))

    def test_a_disk_has_the_same_identity_after_a_boot_and_a_restart(self):
        link = self.target.put_link("pc-001", self.version)

        def identity():
            with self.login(link) as initiator:
                return [initiator.scsi(bytes([0x12, 1, page, 0, 255, 0]), 255) for page in (0x80, 0x83)]

        before = identity()
        self.login_boot(link, self.target.boot(link)).logout()
        self.assertEqual(identity(), before)
        self.target.restart_after_kill()
        self.assertEqual(identity(), before)
        other = self.target.put_link("pc-002", self.version)
        with self.login(other) as initiator:
            self.assertNotEqual(initiator.scsi(bytes([0x12, 1, 0x80, 0, 255, 0]), 255), before[0])


if __name__ == "__main__":
    unittest.main()
