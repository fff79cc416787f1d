"""goldlink-target over a damaged image store: it says what is wrong, serves all the rest, and is mended."""

import os
import struct
import unittest
import uuid

from harness import iscsi, processes, target_case as target

CHUNK = 65536
BLOCKS = CHUNK // 512


class Case(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.content = os.urandom(16 * CHUNK)
        self.digest = self.target.import_image(self.content)
        self.pack = self.target.state_dir / "store/packs/00000000.pack"
        self.manifest = self.target.state_dir / "store/manifests" / self.digest

    def login(self, link, username="user", secret=target.SECRET):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], username, secret)
        while True:
            try:
                initiator.scsi(bytes(6))
                return initiator
            except iscsi.CheckCondition as told:
                self.assertEqual(told.key, 6)

    def chunk_of(self, initiator, chunk):
        """The chunk's bytes, or None when they are a medium error: UNRECOVERED READ ERROR."""
        try:
            return initiator.read(chunk * BLOCKS, BLOCKS)
        except iscsi.CheckCondition as told:
            self.assertEqual((told.key, *told.asc), (3, 0x11, 0))
            return None

    def expect(self, initiator, bad=(), content=None):
        content = content or self.content
        for chunk in range(16):
            whole = content[chunk * CHUNK:(chunk + 1) * CHUNK]
            self.assertEqual(self.chunk_of(initiator, chunk), None if chunk in bad else whole, f"chunk {chunk}")

    def corrupt(self, *chunks):
        """Flips a byte of each in the pack, where an import by two threads has put it."""
        with open(self.pack, "r+b") as pack:
            data = pack.read()
            for chunk in chunks:
                at = data.index(self.content[chunk * CHUNK:chunk * CHUNK + 4096])
                pack.seek(at + 100)
                pack.write(bytes([data[at + 100] ^ 1]))

    def start_task(self, call, **body):
        return self.target.task(self.target.api.post(f"/versions/{self.digest}/{call}", {"id": str(uuid.uuid4()), **body}))

    def verify(self):
        report = self.start_task("verify")
        self.assertEqual(report["state"], "done", report)
        return report["findings"]

    def image_file(self, content=None):
        path = self.folder / "again.raw"
        path.write_bytes(content or self.content)
        return str(path)

    def repair(self, path):
        report = self.start_task("repair", path=path, format="raw")
        self.assertEqual(report["state"], "done", report)
        return report["repair"]

    def version(self):
        return self.check(self.target.api.get(f"/versions/{self.digest}"), 200)


class CorruptChunks(Case):
    def test_sessions_that_run_get_medium_errors_at_once_and_the_data_when_it_is_mended(self):
        link = self.target.put_link("pc-001", self.digest, policy="keep")
        initiator = self.login(link)
        for _ in range(3):  # so that it may lie in locked memory
            self.expect(initiator)
        initiator.write(9 * BLOCKS, b"\x77" * 4096, fua=True)
        self.corrupt(2, 9)
        findings = self.verify()
        self.assertEqual(sorted(use["offset_bytes"] for finding in findings for use in finding["uses"]),
                         [2 * CHUNK, 9 * CHUNK])
        self.assertEqual({finding["why"] for finding in findings}, {"corrupt"})
        self.assertIsNone(self.chunk_of(initiator, 2))
        self.assertIsNone(self.chunk_of(initiator, 9))
        self.assertEqual(initiator.read(9 * BLOCKS, 8), b"\x77" * 4096, "what the link wrote reads")
        self.assertEqual(initiator.read(0, BLOCKS), self.content[:CHUNK])
        self.assertIn("2 corrupt chunks", self.version()["damage"])
        self.assertEqual(self.version()["bad_bytes"], 2 * CHUNK)
        self.assertIn("2 corrupt chunks", self.target.view(link)["running"][0]["problem"])
        event = self.target.wait_event("image_damaged", version=self.digest)
        self.assertEqual((event["data"]["links"], event["data"]["bad_bytes"]), ([link["id"]], 2 * CHUNK))
        # Half of the file: one of the two.
        self.assertEqual(self.repair(self.image_file(self.content[:5 * CHUNK])),
                         {"bad_chunks": 2, "mended_chunks": 1, "manifest_mended": False})
        self.assertEqual(self.chunk_of(initiator, 2), self.content[2 * CHUNK:3 * CHUNK])
        self.assertIsNone(self.chunk_of(initiator, 9))
        self.assertEqual(self.target.import_image(self.content), self.digest)
        written = self.content[:9 * CHUNK] + b"\x77" * 4096 + self.content[9 * CHUNK + 4096:]
        self.expect(initiator, content=written)
        self.assertIsNone(self.version()["damage"])
        self.assertIsNone(self.target.view(link)["running"][0]["problem"])
        self.target.wait_event("image_mended", version=self.digest)
        self.assertEqual(self.verify(), [])

    def test_a_restart_and_links_made_later_find_them_bad_too(self):
        link = self.target.put_link("pc-001", self.digest)
        self.corrupt(0, 15)
        self.assertEqual(len(self.verify()), 2)
        self.target.restart_after_kill()
        self.expect(self.login(link), bad=(0, 15))
        other = self.target.put_link("pc-002", self.digest)
        initiator = self.login(other)
        self.expect(initiator, bad=(0, 15))
        boot = self.target.boot(other)
        again = self.login(other, boot["username"], boot["secret"])
        self.expect(again, bad=(0, 15))
        self.repair(self.image_file())
        self.expect(again)
        self.target.restart_after_kill()
        self.expect(self.login(link))

    def test_a_disc_has_medium_errors_too(self):
        self.corrupt(3)
        self.verify()
        body = {**self.target.link_body("disc", self.digest),
                "disks": [{"lun": 0, "version": self.digest, "type": "cdrom"}]}
        link = self.check(self.target.api.put(f"/links/{uuid.uuid4()}", body), 200)
        initiator = self.login(link)
        read = lambda block: initiator.scsi(struct.pack(">BBIBHB", 0x28, 0, block, 0, 32, 0), CHUNK)  # noqa: E731
        self.assertEqual(read(0), self.content[:CHUNK])
        with self.assertRaises(iscsi.CheckCondition) as caught:
            read(3 * 32)
        self.assertEqual((caught.exception.key, *caught.exception.asc), (3, 0x11, 0))

    def test_a_commit_over_a_bad_chunk_says_so_and_one_beside_it_is_made(self):
        link = self.target.put_link("pc-001", self.digest, policy="super")
        initiator = self.login(link)
        initiator.write(5 * BLOCKS, b"\x05" * 4096, fua=True)
        initiator.logout()
        self.corrupt(5)
        self.verify()
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")
        report = self.target.task(self.target.api.post(f"/links/{link['id']}/commit", {"id": str(uuid.uuid4())}))
        self.assertEqual((report["state"], report["error"]["kind"]), ("failed", "corrupt"))
        self.repair(self.image_file())
        report = self.target.task(self.target.api.post(f"/links/{link['id']}/commit", {"id": str(uuid.uuid4())}))
        self.assertEqual(report["state"], "done", report)

    def test_what_is_asked_wrongly_is_refused(self):
        for body in ({}, {"id": str(uuid.uuid4())}, {"id": str(uuid.uuid4()), "path": "relative"},
                     {"id": str(uuid.uuid4()), "path": "/a", "upload": "b"}):
            self.check(self.target.api.post(f"/versions/{self.digest}/repair", body), 400)
        self.check(self.target.api.post(f"/versions/{'0' * 64}/repair", {"id": str(uuid.uuid4()), "path": "/a"}), 404)
        self.check(self.target.api.post(f"/versions/{self.digest}/repair", {"id": str(uuid.uuid4()), "upload": "none"}), 404)
        report = self.start_task("repair", path="/no/such/file")
        self.assertEqual((report["state"], report["error"]["kind"]), ("failed", "not_found"))


class Background(Case):
    def test_versions_are_verified_by_the_target_itself_and_what_it_finds_is_told(self):
        self.assertIsNone(self.version()["verified_at"])
        self.assertEqual(self.verify(), [])
        first = self.version()["verified_at"]
        self.assertIsNotNone(first)
        link = self.target.put_link("pc-001", self.digest)
        self.target.daemon.stop()
        self.corrupt(4)
        self.target = target.Target(self, "--verify-every", "0.00001", "--verify-rate", "64MiB").start()
        event = self.target.wait_event("image_damaged", version=self.digest)
        self.assertEqual(event["data"]["bad_bytes"], CHUNK)
        self.expect(self.login(link), bad=(4,))
        processes.wait_until(lambda: self.version()["verified_at"] > first, "the time of it is noted")
        other = self.target.import_image(os.urandom(CHUNK), "other.raw")
        processes.wait_until(lambda: self.check(self.target.api.get(f"/versions/{other}"), 200)["verified_at"], "its turn comes")

    def test_a_slow_one_ends_at_once_with_the_target(self):
        self.target.daemon.stop()
        self.target = target.Target(self, "--verify-every", "0.00001", "--verify-rate", "64KiB").start()
        self.target.daemon.stop()
        self.assertIn("ending on signal", self.target.daemon.log())


class LostPack(Case):
    def lose(self, how):
        link = self.target.put_link("pc-001", self.digest, policy="keep")
        initiator = self.login(link)
        initiator.write(0, b"\x01" * 4096, fua=True)
        self.target.daemon.stop()
        how()
        self.target.start()
        return link

    def test_missing(self):
        link = self.lose(lambda: self.pack.rename(self.folder / "away"))
        blank = self.target.task(self.target.api.post("/imports", {"id": str(uuid.uuid4()), "blank_bytes": 1 << 20}))
        self.assertEqual(self.login(self.target.put_link("pc-002", blank["version"]["digest"])).read(0, 8), bytes(4096))
        view = self.target.view(link)
        self.assertTrue(view["ready"])
        for said in (view["running"][0]["problem"], self.version()["damage"]):
            self.assertIn(f"{self.pack} is missing: it was moved, renamed or deleted", said)
            self.assertIn("image repair", said)
        initiator = self.login(link)
        self.assertEqual(initiator.read(0, 8), b"\x01" * 4096)
        for chunk in range(16):
            self.assertIsNone(self.chunk_of(initiator, chunk))
        findings = self.verify()
        self.assertEqual({finding["why"] for finding in findings}, {"file-missing"})
        self.assertEqual(self.repair(self.image_file())["mended_chunks"], 16)
        self.expect(initiator, content=b"\x01" * 4096 + self.content[4096:])

    def test_missing_and_put_back(self):
        link = self.lose(lambda: self.pack.rename(self.folder / "away"))
        (self.folder / "away").rename(self.pack)
        self.assertEqual(self.verify(), [])
        self.expect(self.login(link), content=b"\x01" * 4096 + self.content[4096:])

    def test_cut_short(self):
        link = self.lose(lambda: os.truncate(self.pack, 10 * CHUNK))
        self.assertIn("is cut short: it ends after 655360 bytes of at least 1048576", self.version()["damage"])
        initiator = self.login(link)
        bad = [chunk for chunk in range(1, 16) if self.chunk_of(initiator, chunk) is None]
        self.assertLessEqual(len(bad), 6)
        self.target.import_image(os.urandom(8 * CHUNK), "other.raw")  # makes the file longer again
        self.assertEqual([chunk for chunk in range(1, 16) if self.chunk_of(initiator, chunk) is None], bad)
        self.assertEqual(self.repair(self.image_file())["mended_chunks"], 6)
        self.expect(initiator, content=b"\x01" * 4096 + self.content[4096:])

    def test_a_folder_in_its_place(self):
        def swap():
            self.pack.unlink()
            self.pack.mkdir()
        self.lose(swap)
        self.assertIn(f"{self.pack} is a folder where a file must be", self.version()["damage"])
        report = self.start_task("repair", path=self.image_file(), format="raw")
        self.assertEqual(report["state"], "failed")
        self.assertIn("is a folder", report["error"]["message"])
        self.pack.rmdir()
        self.assertEqual(self.repair(self.image_file())["mended_chunks"], 16)


class LostManifest(Case):
    def test_its_links_say_so_all_others_start_and_repair_opens_them(self):
        other = self.target.import_image(os.urandom(CHUNK), "other.raw")
        link, healthy = self.target.put_link("pc-001", self.digest), self.target.put_link("pc-002", other)
        for lose in (self.manifest.unlink, lambda: os.truncate(self.manifest, 80)):
            self.target.daemon.stop()
            lose()
            self.target.start()
            self.assertTrue(self.target.view(healthy)["ready"])
            view = self.target.view(link)
            self.assertFalse(view["ready"])
            self.assertIn(str(self.manifest), view["problem"])
            self.assertIn("repair", view["problem"])
            self.assertIn(str(self.manifest), self.version()["damage"])
            self.target.wait_event("image_damaged", version=self.digest)
            report = self.start_task("repair", path=self.image_file(os.urandom(CHUNK)), format="raw")
            self.assertEqual((report["state"], report["error"]["kind"]), ("failed", "conflict"))
            self.assertEqual(self.repair(self.image_file())["manifest_mended"], True)
            self.assertTrue(self.target.view(link)["ready"])
            self.expect(self.login(link))
            self.assertIsNone(self.version()["damage"])


if __name__ == "__main__":
    unittest.main()
