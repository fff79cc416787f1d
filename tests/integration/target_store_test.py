"""goldlink-target whose image store cannot be used, or is older than what lies beside it: it starts, says why, touches
nothing, serves what it can, and goes on by itself when the store is in order again. And an account of the disk's space
in which what would take the space of running clients is refused before it begins."""

import hashlib
import os
import shutil
import subprocess
import unittest
import uuid

from harness import iscsi, processes, target_case as target

MIB = 1 << 20
CHUNK = 65536


class Case(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.content = os.urandom(16 * CHUNK)
        self.version = self.target.import_image(self.content)
        self.link = self.target.put_link("pc", self.version, policy="keep")
        self.store = self.target.state_dir / "store"
        with self.login() as initiator:
            initiator.write(8, b"K" * 512)

    def login(self):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(self.link["iqn"], "user", target.SECRET)
        while True:
            try:
                initiator.scsi(bytes(6))
                return initiator
            except iscsi.CheckCondition as told:
                self.assertEqual(told.key, 6)

    def files(self):
        """Path -> SHA-256 of all that holds data of clients or images."""
        found = {}
        for folder in (self.store / "packs", self.store / "manifests", self.target.state_dir / "overlays"):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.name != "journal":
                    found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def problem(self):
        return self.check(self.target.api.get("/status"), 200)["store"]["problem"]

    def rebuild(self, *options):
        return subprocess.run([processes.binary("goldlink-target"), "--state-dir", self.target.state_dir,
                               "--rebuild-store", *options], capture_output=True, text=True, timeout=60)

    def serves(self):
        processes.wait_until(lambda: self.target.view(self.link)["ready"], "the link is ready")
        with self.login() as initiator:
            self.assertEqual(initiator.read(0, 8), self.content[:8 * 512])
            self.assertEqual(initiator.read(8, 1), b"K" * 512)


class Unusable(Case):
    def expect_refusal(self, *texts):
        before = self.files()
        self.target.start()
        problem = self.problem()
        view = self.target.view(self.link)
        self.assertFalse(view["ready"])
        for text in texts:
            self.assertIn(text, problem)
            self.assertIn(text, view["problem"])
        for refused in (self.target.api.get("/versions"), self.target.api.put("/uploads/x.raw", b"x" * 512),
                        self.target.api.post("/imports", {"id": str(uuid.uuid4()), "blank_bytes": MIB})):
            self.assertEqual(refused.status, 503, refused)
            self.assertIn(texts[0], refused.json["detail"])
        self.assertEqual(self.files(), before)

    def test_without_its_index_it_changes_nothing_and_goes_on_when_the_index_is_back(self):
        self.target.daemon.stop()
        (self.store / "index").rename(self.folder / "index")
        self.expect_refusal("index", "is missing", "goldlink store rebuild")
        (self.folder / "index").rename(self.store / "index")
        self.serves()
        self.assertIsNone(self.problem())
        self.target.import_image(os.urandom(CHUNK), "more.raw")  # tasks run, too

    def test_a_damaged_index_is_an_error_and_is_made_anew_beside_the_running_target(self):
        harms = {
            "cut": lambda data: data[:3 * 4096 + 5],
            "garbled": lambda data: data[:8192] + os.urandom(len(data) - 8192),
            "no index at all": lambda data: os.urandom(20000),
        }
        for name, harm in harms.items():
            with self.subTest(name):
                self.target.daemon.stop()
                index = self.store / "index/data.mdb"
                index.write_bytes(harm(index.read_bytes()))
                self.expect_refusal("index", "goldlink store rebuild")
                done = self.rebuild()
                self.assertEqual(done.returncode, 0, done)
                self.assertIn("the index names 1 versions", done.stdout)
                self.serves()
                task = self.target.task(
                    self.target.api.post(f"/versions/{self.version}/verify", {"id": str(uuid.uuid4())}))
                self.assertEqual(task["findings"], [])

    def test_a_target_that_uses_its_store_keeps_a_rebuild_out(self):
        done = self.rebuild()
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("in use by another process", done.stdout + done.stderr)
        self.target.daemon.stop()
        done = self.rebuild()
        self.assertEqual((done.returncode, "is in order" in done.stdout), (0, True), done)

    def test_a_newer_format_says_start_the_newer_program(self):
        self.target.daemon.stop()
        (self.store / "format").write_text("goldlink image store 2\n")
        self.expect_refusal("start the newer program")


class Older(Case):
    def test_an_older_index_serves_what_it_knows_and_writes_nothing(self):
        self.target.daemon.stop()
        shutil.copytree(self.store / "index", self.folder / "index")
        self.target.start()
        later = self.target.import_image(os.urandom(9 * CHUNK), "later.raw")
        self.target.daemon.stop()
        shutil.rmtree(self.store / "index")
        shutil.copytree(self.folder / "index", self.store / "index")
        before = self.files()
        self.target.start()
        self.assertIn(later, self.problem())
        self.serves()
        report = self.target.task(self.target.start_import(os.urandom(5 * CHUNK), "third.raw"))
        self.assertEqual(report["state"], "failed", report)
        self.assertIn("goldlink store rebuild", report["error"]["message"])
        gc = self.check(self.target.api.get("/gc"), 200)
        self.target.task(self.target.api.post(
            "/gc", {"id": str(uuid.uuid4()), "mark": gc["mark"], "versions": [], "uploads": []}))
        after = self.files()
        self.assertEqual({p: after.get(p) for p in before if "overlays" not in p.parts},
                         {p: d for p, d in before.items() if "overlays" not in p.parts})
        self.target.daemon.stop()
        self.assertEqual(self.rebuild().returncode, 0)
        self.target.start()
        self.assertIsNone(self.problem())
        versions = {v["digest"] for v in self.check(self.target.api.get("/versions"), 200)}
        self.assertEqual(versions, {self.version, later})


class Holes(processes.TestCase):
    def peak_bytes(self, served):
        with open(f"/proc/{served.daemon.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

    def test_a_disk_of_eight_tebibytes_of_holes_costs_next_to_nothing(self):
        served = target.Target(self, "--locked-memory", "0").start()
        served.import_image(bytes(510) + b"\x55\xaa" + os.urandom(MIB), "small.raw")
        image, size = self.folder / "holes.raw", 8 << 40
        with open(image, "wb") as file:
            file.write(bytes(510) + b"\x55\xaa")
            for at in (5 << 40, size - CHUNK):
                file.seek(at)
                file.write(b"D" * CHUNK)
            file.truncate(size)
        before = self.peak_bytes(served)
        report = served.task(served.api.post(
            "/imports", {"id": str(uuid.uuid4()), "path": str(image), "format": "raw"}))
        self.assertEqual(report["state"], "done", report)
        imported = self.peak_bytes(served)
        link = served.put_link("pc", report["version"]["digest"])
        with iscsi.Initiator(served.portal) as initiator:
            initiator.login(link["iqn"], "user", target.SECRET)
            self.assertEqual(initiator.read((5 << 40) // 512 - 1, 2), bytes(512) + b"D" * 512)
        opened = self.peak_bytes(served)
        manifest = served.state_dir / "store/manifests" / report["version"]["digest"]
        print(f"memory for 8 TiB of holes: import {(imported - before) / MIB:.1f} MiB, open "
              f"{(opened - before) / MIB:.1f} MiB; manifest {manifest.stat().st_blocks * 512} bytes on disk")
        self.assertLess(opened - before, 64 * MIB)
        self.assertEqual(manifest.stat().st_size, 64 + (size // CHUNK) * 32)
        self.assertLess(manifest.stat().st_blocks * 512, MIB)


@unittest.skipUnless(os.geteuid() == 0, "mounts a small filesystem")
class Space(processes.TestCase):
    def test_what_would_take_the_reserve_of_running_clients_is_refused_before_it_begins(self):
        small = self.folder / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(small)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(small)], check=True)
        served = target.Target(self, state_dir=small / "state", reserve="8MB").start()
        self.addCleanup(served.daemon.stop)
        version = served.import_image(bytes(510) + b"\x55\xaa" + os.urandom(4 * MIB - 512) + bytes(12 * MIB))
        link = served.put_link("pc", version)
        initiator = iscsi.Initiator(served.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], "user", target.SECRET)
        free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
        image = self.folder / "large.raw"
        image.write_bytes(bytes(510) + b"\x55\xaa" + os.urandom(free - 10 * MIB))
        report = served.task(served.api.post(
            "/imports", {"id": str(uuid.uuid4()), "path": str(image), "format": "raw"}))
        self.assertEqual((report["state"], report["error"]["kind"]), ("failed", "exhausted"), report)
        self.assertIn("kept for running PCs", report["error"]["message"])
        self.assertGreater(os.statvfs(small).f_bavail * os.statvfs(small).f_frsize, free - MIB)
        upload = served.api.put("/uploads/large.raw", image.read_bytes())
        self.assertEqual(upload.status, 507, upload)
        with open(image, "r+b") as file:
            file.truncate(free - 18 * MIB)  # just fits
        report = served.task(served.api.post(
            "/imports", {"id": str(uuid.uuid4()), "path": str(image), "format": "raw"}))
        self.assertEqual(report["state"], "done", report)
        for at in range(96):  # and the client has what was kept for it: 6 MiB
            initiator.write(at * 128, os.urandom(CHUNK))


if __name__ == "__main__":
    unittest.main()
