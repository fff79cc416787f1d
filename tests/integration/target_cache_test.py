"""The page cache as the read cache of images: who reads from disk, and what is read ahead of boots."""

import os
import pathlib
import shutil
import tempfile
import unittest
import uuid

from harness import iscsi, processes, target_case as target

MIB = 1 << 20
CHUNK = 64 << 10
BOOT = [*range(20, 60), *range(100, 130), 400]  # the chunks that a boot reads, in this order
SIZE = 64 * MIB


class CacheCase(processes.TestCase):
    locked_memory = 0

    def setUp(self):
        super().setUp()
        # On a disk: what is in a tmpfs cannot leave the page cache.
        state = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, state, ignore_errors=True)
        self.target = target.Target(self, "--boot-trace", "1", "--locked-memory", str(self.locked_memory), state_dir=state)
        self.target.start()
        self.image = os.urandom(SIZE)
        self.version = self.target.import_image(self.image)

    def evict(self):
        """Nothing of the image store stays in the page cache."""
        for pack in (self.target.state_dir / "store" / "packs").iterdir():
            with open(pack, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def boot(self, link, chunks):
        """A PC that logs in with its boot's credential and reads."""
        boot = self.target.boot(link)
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], boot["username"], boot["secret"])
        for chunk in chunks:
            self.assertEqual(initiator.read(chunk * CHUNK // 512, CHUNK // 512),
                             self.image[chunk * CHUNK:(chunk + 1) * CHUNK])
        initiator.close()

    def shown(self, version=None):
        return self.check(self.target.api.get(f"/versions/{version or self.version}"), 200)

    def misses(self):
        return self.shown()["reads"]["cache_misses"]

    def bytes_from_disk(self):
        for line in pathlib.Path(f"/proc/{self.target.daemon.pid}/io").read_text().splitlines():
            if line.startswith("read_bytes:"):
                return int(line.split()[1])
        raise AssertionError("the kernel does not count reads")

    def record(self):
        self.boot(self.target.put_link("pc-001", self.version), BOOT)
        trace = processes.wait_until(lambda: self.shown()["boot_trace"], "the boot is recorded")
        self.assertEqual((trace["bytes"], trace["inherited"]), (len(BOOT) * CHUNK, False))


class Cache(CacheCase):
    def test_a_second_client_reads_nothing_from_the_disk(self):
        first, second = (self.target.put_link(name, self.version) for name in ("pc-001", "pc-002"))
        self.evict()
        self.boot(first, BOOT)
        cold = self.misses()
        self.assertGreater(cold, 0)
        before = self.bytes_from_disk()
        self.boot(second, BOOT)
        self.assertEqual(self.misses(), cold)
        self.assertEqual(self.bytes_from_disk(), before)

    def test_the_first_boot_after_a_start_finds_what_boots_read_in_memory(self):
        self.record()
        self.target.daemon.stop()
        self.evict()
        self.target.start()
        processes.wait_until(lambda: self.shown()["boot_trace"]["prewarmed_at"], "the trace is read in")
        self.assertEqual(self.shown()["boot_trace"]["prewarmed_bytes"], len(BOOT) * CHUNK)
        links = self.check(self.target.api.get("/links"), 200)
        self.boot(links[0], BOOT)
        self.assertEqual(self.misses(), 0)
        self.boot(links[0], [900])  # far from all of it: this one was not read ahead
        self.assertEqual(self.misses(), 1)

    def test_a_version_in_place_of_another_is_read_ahead_by_its_trace(self):
        self.record()
        link = self.check(self.target.api.get("/links"), 200)[0]
        self.image = self.image[:110 * CHUNK] + os.urandom(10 * CHUNK) + self.image[120 * CHUNK:]
        newer = self.target.import_image(self.image, name="newer.raw")
        self.assertIsNone(self.shown(newer)["boot_trace"])
        self.evict()
        self.check(self.target.api.put(f"/links/{link['id']}", self.target.link_body("pc-001", newer)), 200)
        processes.wait_until(lambda: (self.shown(newer)["boot_trace"] or {}).get("prewarmed_at"), "it is read ahead")
        self.assertTrue(self.shown(newer)["boot_trace"]["inherited"])
        self.boot(link, BOOT)
        self.assertEqual(self.shown(newer)["reads"]["cache_misses"], 0)
        processes.wait_until(lambda: not self.shown(newer)["boot_trace"]["inherited"], "its own boot is recorded")

    def test_reading_ahead_on_demand_is_a_task(self):
        ask = {"id": str(uuid.uuid4())}
        report = self.target.task(self.target.api.post(f"/versions/{self.version}/prewarm", ask))
        self.assertEqual(report["state"], "failed")
        self.assertIn("let a client boot from it once", report["error"]["message"])
        self.record()
        self.evict()
        report = self.target.task(
            self.target.api.post(f"/versions/{self.version}/prewarm", {"id": str(uuid.uuid4())}))
        self.assertEqual((report["state"], report["prewarmed_bytes"]), ("done", len(BOOT) * CHUNK), report)
        before, misses = self.bytes_from_disk(), self.shown()["reads"]["cache_misses"]
        self.boot(self.check(self.target.api.get("/links"), 200)[0], BOOT)
        self.assertEqual(self.shown()["reads"]["cache_misses"], misses)
        # No chunk of the image; a block of the file system's own, of the new overlay's folder, it may be.
        self.assertLess(self.bytes_from_disk() - before, CHUNK)

    def test_a_trace_file_that_is_broken_keeps_nothing_from_starting(self):
        self.record()
        self.target.daemon.stop()
        (self.target.state_dir / "boot-traces" / self.version).write_text('{"chunks": [-1]}')
        self.target.start()
        self.assertIsNone(self.shown()["boot_trace"])
        self.boot(self.check(self.target.api.get("/links"), 200)[0], BOOT)
        processes.wait_until(lambda: self.shown()["boot_trace"], "it is recorded again")

    def test_a_version_that_is_deleted_takes_its_trace_along(self):
        self.record()
        link = self.check(self.target.api.get("/links"), 200)[0]
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)
        self.check(self.target.api.delete(f"/versions/{self.version}"), 204)
        processes.wait_until(lambda: not list((self.target.state_dir / "boot-traces").iterdir()), "the file is gone")


class Pins(CacheCase):
    locked_memory = 48 * MIB  # less than the version, which is random: 64 MiB

    def pinned(self, bytes_in_memory):
        processes.wait_until(lambda: (self.shown()["pin"] or {}).get("pinned_bytes") == bytes_in_memory, "it is pinned")
        return self.shown()["pin"]

    def test_a_pinned_version_is_read_without_a_disk_also_after_a_restart(self):
        self.record()
        self.check(self.target.api.put("/pins", {"versions": [self.version]}), 204)
        pin = self.pinned(48 * MIB)
        self.assertEqual(pin["wanted_bytes"], SIZE)
        processes.wait_until(lambda: "the locked memory is full" in (self.shown()["pin"]["problem"] or ""), "it says why not more")
        self.target.daemon.stop()
        self.target.start()
        self.pinned(48 * MIB)
        self.evict()
        before = self.bytes_from_disk()
        link = self.check(self.target.api.get("/links"), 200)[0]
        self.boot(link, [*BOOT, 5, 700])  # what boots read, and what lies first on the disk
        self.assertEqual(self.bytes_from_disk(), before)
        self.boot(link, [1023])  # the end of the disk, for which there is no room
        self.assertGreater(self.bytes_from_disk(), before)
        self.check(self.target.api.put("/pins", {"versions": []}), 204)
        processes.wait_until(lambda: self.shown()["pin"] is None, "it is not pinned any more")
        processes.wait_until(lambda: self.check(self.target.api.get("/status"), 200)["store"]["pinned_bytes"] == 0,
                             "its memory is given back")

    def test_what_is_no_digest_is_refused(self):
        for versions in ("x", [1], ["ab"], ["Z" * 64], ["a" * 64] * 1001):
            self.check(self.target.api.put("/pins", {"versions": versions}), 400)
        self.check(self.target.api.put("/pins", {"versions": ["a" * 64]}), 204)  # one that comes later


if __name__ == "__main__":
    unittest.main()
