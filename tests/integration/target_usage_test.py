"""What fills an overlay: goldlink-target and goldlink-usage-reader over real file systems, to the byte."""

import os
import pathlib
import shutil
import signal
import struct
import subprocess
import threading
import unittest
import uuid
import zlib

from harness import iscsi, processes, target_case as target
from harness.target_case import run

MIB = 1 << 20
BLOCK = 4096


def rounded(size):
    """Of a file with clusters of 4 KiB."""
    return -(-size // BLOCK) * BLOCK


class Disk:
    """A raw disk of `mebibytes` with partitions made by sfdisk; file systems are made in files of their own."""

    def __init__(self, folder, mebibytes, table=""):
        self.folder = folder
        self.size = mebibytes * MIB
        self.path = folder / "disk.raw"
        with open(self.path, "wb") as file:
            file.truncate(self.size)
        if table:
            subprocess.run(["sfdisk", "--quiet", "--no-reread", str(self.path)], input=table, text=True,
                            check=True, stdout=subprocess.DEVNULL)

    def put_native_gpt(self, *partitions):
        """A primary GPT of blocks of 4,096 bytes, which sfdisk makes for devices only; partitions: (first, end) in bytes."""
        entries = b"".join(uuid.uuid4().bytes_le + uuid.uuid4().bytes_le + struct.pack("<QQQ72x", first // 4096, end // 4096 - 1, 0)
                           for first, end in partitions).ljust(128 * 128, b"\0")
        header = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, self.size // 4096 - 1, 6, self.size // 4096 - 6,
                             uuid.uuid4().bytes_le, 2, 128, 128, zlib.crc32(entries))
        header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
        self.put(bytes(446) + struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, self.size // 4096 - 1) + bytes(48) +
                 b"\x55\xaa", 0)
        self.put(header, 4096)
        self.put(entries, 8192)

    def file_system(self, name, mebibytes, *make):
        """An empty file with `make NAME`, to be put into the disk."""
        path = self.folder / name
        with open(path, "wb") as file:
            file.truncate(mebibytes * MIB)
        run(*make, path)
        return path

    def put(self, path, at):
        with open(self.path, "r+b") as disk:
            disk.seek(at)
            disk.write(path.read_bytes() if isinstance(path, pathlib.Path) else path)

    def content(self):
        return self.path.read_bytes()


def ext4(disk, name, mebibytes, *options):
    return disk.file_system(name, mebibytes, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-E", "lazy_itable_init=0", *options)


def fat(disk, name, mebibytes):
    path = disk.file_system(name, mebibytes, "true")
    run("mformat", "-i", path, "-c", "8", "::")
    return path


def ntfs(disk, name, mebibytes, sector=512):
    return disk.file_system(name, mebibytes, "mkntfs", "-q", "-F", "-f", "-s", str(sector), "-c", "4096")


def debugfs(path, *commands):
    for command in commands:
        run("debugfs", "-w", "-R", command, path)


class Usage(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.files = {}

    def random_file(self, name, size):
        path = self.folder / name.replace("/", "_")
        path.write_bytes(os.urandom(size))
        return path

    def link_over(self, content, policy="keep", sector=512):
        version = self.target.import_image(content)
        link_id = str(uuid.uuid4())
        body = self.target.link_body(f"pc-{link_id[:8]}", version, policy)
        body["disks"][0]["logical_block_bytes"] = sector
        view = self.check(self.target.api.put(f"/links/{link_id}", body), 200)
        self.assertTrue(view["ready"], view)
        return view

    def write_changes(self, link, before, after, sector=512):
        """Writes the blocks that differ, as a client would; how many bytes these are."""
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], "user", target.SECRET)
        written, at = 0, 0
        while at < len(after):
            end = at
            while end < len(after) and end - at < 64 * BLOCK and after[end:end + BLOCK] != before[end:end + BLOCK]:
                end += BLOCK
            if end > at:
                initiator.write(at // sector, after[at:end], block_bytes=sector)
                written += end - at
            at = max(end, at + BLOCK)
        initiator.flush()
        initiator.logout()
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")
        self.assertEqual(self.target.view(link)["overlay"]["used_bytes"], written)
        return written

    def usage(self, link, query=""):
        found = self.check(self.target.api.get(f"/links/{link['id']}/usage{query}"), 200)
        self.assertEqual(found["used_bytes"], self.target.view(link)["overlay"]["used_bytes"])
        self.assertEqual(found["used_bytes"], found["outside_bytes"] + sum(each["written_bytes"] for each in found["partitions"]))
        for each in found["partitions"]:
            self.assertEqual(each["written_bytes"], each["file_bytes"] + each["metadata_bytes"] + each["free_bytes"] + each["other_bytes"])
        return found

    @staticmethod
    def files_of(partition):
        return [(file["path"], file["written_bytes"], file["size_bytes"]) for file in partition["files"]]

    def changed_bytes(self, before, after, at, length):
        return sum(BLOCK for block in range(at, at + length, BLOCK) if before[block:block + BLOCK] != after[block:block + BLOCK])

    def test_the_files_of_ext4_fat_and_ntfs_on_a_gpt_disk(self):
        disk = Disk(self.folder, 160, "label: gpt\nsize=48M\nsize=32M\nsize=64M\n")
        starts = [1 * MIB, 49 * MIB, 81 * MIB]
        paths = [ext4(disk, "a.ext4", 48), fat(disk, "b.fat", 32), ntfs(disk, "c.ntfs", 64)]
        for path, at in zip(paths, starts):
            disk.put(path, at)
        before = disk.content()
        # In the FAT, whose clusters do not lie as blocks of the overlay do, whole clusters: zeros after a file change nothing.
        big, small, third = self.random_file("big", 3 * MIB + BLOCK), self.random_file("small", 9000), self.random_file("third", 18 * BLOCK)
        debugfs(paths[0], "mkdir var", f"write {small} small.txt", f"write {big} var/big.log")
        # A client writes whole directories, and what it did last to a file system is its metadata.
        run("mmd", "-i", paths[1], "::/Games")
        run("mcopy", "-i", paths[1], big, "::/Games/a long name.pak")
        run("mcopy", "-i", paths[1], third, "::/THIRD.BIN")
        run("ntfscp", "-f", paths[2], third, "third.dat")
        run("ntfscp", "-f", paths[2], big, "pagefile.sys")
        for path, at in zip(paths, starts):
            disk.put(path, at)
        disk.put(os.urandom(BLOCK), 150 * MIB)  # in no partition
        after = disk.content()
        link = self.link_over(before)
        self.write_changes(link, before, after)
        found = self.usage(link)
        self.assertEqual((found["complete"], found["why"], found["live"], found["lun"]), (True, None, False, 0))
        self.assertEqual((found["disk_bytes"], found["outside_bytes"]), (160 * MIB, BLOCK))
        self.assertEqual([(each["number"], each["offset_bytes"], each["length_bytes"], each["file_system"], each["readable"], each["problem"])
                          for each in found["partitions"]],
                         [(1, starts[0], 48 * MIB, "ext4", True, None), (2, starts[1], 32 * MIB, "FAT16", True, None),
                          (3, starts[2], 64 * MIB, "NTFS", True, None)])
        expected = [[("/var/big.log", big), ("/small.txt", small)], [("/Games/a long name.pak", big), ("/THIRD.BIN", third)],
                    [("/pagefile.sys", big), ("/third.dat", third)]]
        for partition, files in zip(found["partitions"], expected):
            with self.subTest(file_system=partition["file_system"]):
                sizes = [(path, rounded(source.stat().st_size), source.stat().st_size) for path, source in files]
                self.assertEqual(self.files_of(partition), sizes)
                self.assertEqual((partition["file_bytes"], partition["file_count"]), (sum(size for _, size, _ in sizes), 2))
                self.assertEqual(partition["written_bytes"],
                                 self.changed_bytes(before, after, partition["offset_bytes"], partition["length_bytes"]))
                self.assertGreater(partition["metadata_bytes"], 0)
                self.assertEqual(partition["other_bytes"], 0)
        # Only so many files as were asked for; all count.
        fewer = self.usage(link, "?files=1&lun=0")["partitions"]
        self.assertEqual([len(each["files"]) for each in fewer], [1, 1, 1])
        self.assertEqual([each["file_bytes"] for each in fewer], [each["file_bytes"] for each in found["partitions"]])
        self.assertEqual(sum(len(each["files"]) for each in self.usage(link, "?files=0")["partitions"]), 0)

    def test_only_what_was_written_of_a_file_counts_and_what_was_deleted_is_free(self):
        disk = Disk(self.folder, 64)
        path = ext4(disk, "whole.ext4", 64)
        old, gone = self.random_file("old", 2 * MIB), self.random_file("gone", MIB)
        debugfs(path, f"write {old} old.dat")
        disk.put(path, 0)
        before = disk.content()
        debugfs(path, f"write {gone} gone.dat")
        with_gone = path.read_bytes()
        debugfs(path, "rm gone.dat")
        content = bytearray(path.read_bytes())
        # The client has changed five blocks in the middle of the old file.
        at = before.index(old.read_bytes()[100 * BLOCK:101 * BLOCK])
        content[at:at + 5 * BLOCK] = os.urandom(5 * BLOCK)
        link = self.link_over(before)
        self.write_changes(link, before, with_gone)
        self.write_again(link, with_gone, bytes(content))
        (partition,) = self.usage(link)["partitions"]
        self.assertEqual((partition["number"], partition["offset_bytes"], partition["length_bytes"]), (None, 0, 64 * MIB))
        self.assertEqual(self.files_of(partition), [("/old.dat", 5 * BLOCK, 2 * MIB)])
        self.assertEqual((partition["free_bytes"], partition["other_bytes"]), (MIB, 0))

    def write_again(self, link, before, after):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], "user", target.SECRET)
        for at in range(0, len(after), BLOCK):
            if before[at:at + BLOCK] != after[at:at + BLOCK]:
                initiator.write(at // 512, after[at:at + BLOCK])
        initiator.logout()
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")

    def test_many_files_in_folders_and_those_with_most_come_first(self):
        disk = Disk(self.folder, 96, "label: gpt\nsize=40M\nsize=40M\n")
        sizes = {f"dir{n % 5}/file{n:03}": (n + 1) * BLOCK for n in range(60)}
        folder = self.folder / "tree"
        for name, size in sizes.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(os.urandom(size))
        before = disk.content()
        disk.put(ext4(disk, "tree.ext4", 40, "-d", folder), MIB)
        linked = ntfs(disk, "tree.ntfs", 40)
        for name in ("one", "two", "three"):
            run("ntfscp", "-f", linked, folder / "dir4/file059", name)
        disk.put(linked, 41 * MIB)
        after = disk.content()
        link = self.link_over(before, "discard")
        self.write_changes(link, before, after)
        found = self.usage(link, "?files=10")
        one, two = found["partitions"]
        largest = sorted(((f"/{name}", size, size) for name, size in sizes.items()), key=lambda file: -file[1])[:10]
        self.assertEqual(self.files_of(one), largest)
        self.assertEqual((one["file_count"], one["file_bytes"]), (60, sum(sizes.values())))
        self.assertEqual(self.files_of(two), [(f"/{name}", 60 * BLOCK, 60 * BLOCK) for name in ("one", "three", "two")])
        # The whole table is in the overlay here, as the disk was blank: it is the file system's own.
        self.assertEqual(found["outside_bytes"], 0)

    def test_an_mbr_with_logical_partitions_and_what_has_no_files(self):
        table = "label: dos\nsize=16M, type=7\nsize=8M, type=82\nsize=8M\nsize=100M, type=5\nsize=40M, type=83\nsize=16M, type=8e\n"
        disk = Disk(self.folder, 160, table)
        before = disk.content()
        shown = subprocess.run(["sfdisk", "--dump", str(disk.path)], capture_output=True, text=True, check=True).stdout
        start = {int(line.split("disk.raw")[1].split()[0]): int(line.split("start=")[1].split(",")[0]) * 512
                 for line in shown.splitlines() if "start=" in line}
        data = self.random_file("data", 123_456)
        path = ext4(disk, "logical.ext4", 40)
        debugfs(path, f"write {data} data")
        disk.put(path, start[5])
        disk.put(b"\xeb\x58\x90-FVE-FS-" + os.urandom(3 * BLOCK), start[1])
        disk.put(bytes(BLOCK - 10) + b"SWAPSPACE2" + os.urandom(2 * BLOCK), start[2])
        disk.put(bytes(512) + b"LABELONE" + bytes(16) + b"LVM2 001" + os.urandom(BLOCK), start[6])
        disk.put(b"x" * BLOCK, start[3] + BLOCK)
        after = disk.content()
        link = self.link_over(before)
        self.write_changes(link, before, after)
        found = self.usage(link)
        self.assertTrue(found["complete"], found["why"])
        self.assertEqual([(each["number"], each["file_system"], each["readable"]) for each in found["partitions"]],
                         [(1, "BitLocker", False), (2, "swap", False), (3, None, False), (5, "ext4", True), (6, "LVM", False)])
        for partition in found["partitions"]:
            self.assertEqual(partition["written_bytes"],
                             self.changed_bytes(before, after, partition["offset_bytes"], partition["length_bytes"]))
            if not partition["readable"]:
                self.assertEqual((partition["files"], partition["other_bytes"]), ([], partition["written_bytes"]))
                self.assertIn("NTFS", partition["problem"])
        self.assertEqual(self.files_of(found["partitions"][3]), [("/data", rounded(123_456), 123_456)])

    def test_a_4kn_disk(self):
        disk = Disk(self.folder, 128)
        disk.put_native_gpt((MIB, 41 * MIB), (41 * MIB, 105 * MIB))
        before = disk.content()
        data = self.random_file("data", 200_000)
        one, two = ext4(disk, "native.ext4", 40), ntfs(disk, "native.ntfs", 64, 4096)
        debugfs(one, f"write {data} data")
        run("ntfscp", "-f", two, data, "data")
        disk.put(one, MIB)
        disk.put(two, 41 * MIB)
        link = self.link_over(before, sector=4096)
        self.write_changes(link, before, disk.content(), sector=4096)
        found = self.usage(link)
        self.assertEqual([(each["file_system"], self.files_of(each)) for each in found["partitions"]],
                         [("ext4", [("/data", rounded(200_000), 200_000)]), ("NTFS", [("/data", rounded(200_000), 200_000)])])

    def test_partitions_that_begin_within_a_block(self):
        """As old tools made them, 63 sectors in: a block of the overlay is of two partitions."""
        disk = Disk(self.folder, 64)
        sector = bytearray(512)
        for index, (first, count) in enumerate([(63, 65536), (65599, 32768)]):
            sector[446 + 16 * index:462 + 16 * index] = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", first, count)
        sector[510:] = b"\x55\xaa"
        disk.put(bytes(sector), 0)
        path = ext4(disk, "odd.ext4", 32)
        disk.put(path, 63 * 512)
        before = disk.content()
        data = self.random_file("data", 10 * BLOCK)
        debugfs(path, f"write {data} data")
        disk.put(path, 63 * 512)
        disk.put(os.urandom(512), 65599 * 512)
        link = self.link_over(before)
        self.write_changes(link, before, disk.content())
        first, second = self.usage(link)["partitions"]
        self.assertEqual(self.files_of(first), [("/data", 10 * BLOCK, 10 * BLOCK)])
        self.assertEqual(second["written_bytes"], BLOCK - 65599 * 512 % BLOCK)

    def test_a_running_client_is_looked_at_and_goes_on(self):
        disk = Disk(self.folder, 32)
        path = ext4(disk, "running.ext4", 32)
        before = path.read_bytes()
        link = self.link_over(before, "discard")
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], "user", target.SECRET)
        self.assertEqual(self.usage(link)["used_bytes"], 0)
        initiator.write(0, os.urandom(BLOCK))
        found = self.usage(link)
        self.assertEqual((found["live"], found["used_bytes"]), (True, BLOCK))
        initiator.write(8, os.urandom(BLOCK))
        self.assertEqual(self.usage(link)["used_bytes"], 2 * BLOCK)

    def test_damaged_file_systems_are_looked_at_as_far_as_they_go(self):
        """Whatever a client leaves there: the sums are right, and the target goes on."""
        disk = Disk(self.folder, 64, "label: gpt\nsize=24M\nsize=16M\nsize=20M\n")
        starts = [MIB, 25 * MIB, 41 * MIB]
        blank = disk.content()
        data = self.random_file("data", 3 * MIB)
        paths = [ext4(disk, "d.ext4", 24), fat(disk, "d.fat", 16), ntfs(disk, "d.ntfs", 20)]
        debugfs(paths[0], f"write {data} data")
        run("mcopy", "-i", paths[1], data, "::/DATA")
        run("ntfscp", "-f", paths[2], data, "data")
        for seed in range(6):
            noise = __import__("random").Random(seed)
            for path, at in zip(paths, starts):
                content = bytearray(path.read_bytes())
                for _ in range(400):  # not where it says what it is
                    where = noise.randrange(2048, 2 * MIB)
                    content[where] = noise.randrange(256)
                disk.put(bytes(content), at)
            link = self.link_over(blank, "discard")
            self.write_changes(link, blank, disk.content())
            found = self.usage(link)
            self.assertEqual(len(found["partitions"]), 3)
            self.check(self.target.api.delete(f"/links/{link['id']}"), 204)

    def test_what_cannot_be_looked_into_is_refused(self):
        disc = bytearray(300 * 2048)
        disc[16 * 2048:16 * 2048 + 7] = b"\x01CD001\x01"
        iso = self.target.import_image(bytes(disc), "disc.iso", "iso")
        version = self.target.import_image(os.urandom(MIB))
        link_id = str(uuid.uuid4())
        body = self.target.link_body("pc-disc", version)
        body["disks"].append({"lun": 1, "version": iso, "type": "cdrom"})
        self.check(self.target.api.put(f"/links/{link_id}", body), 200)
        problem = self.check(self.target.api.get(f"/links/{link_id}/usage?lun=1"), 409)
        self.assertEqual(problem["type"], "cdrom")
        self.check(self.target.api.get(f"/links/{link_id}/usage?lun=2"), 404)
        self.check(self.target.api.get(f"/links/{uuid.uuid4()}/usage"), 404)
        for query in ("lun=x", "lun=256", "files=101", "files=-1", "files="):
            self.assertEqual(self.target.api.get(f"/links/{link_id}/usage?{query}").status, 400, query)


class StubbornReader(processes.TestCase):
    """The target with readers that are not what they should be, beside a copy of it."""

    def start(self, script):
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "goldlink-target"
        if not program.exists():
            shutil.copy(processes.binary("goldlink-target"), program)
        reader = folder / "goldlink-usage-reader"
        reader.write_text(f"#!/bin/sh\n{script}\n")
        reader.chmod(0o755)
        self.target = target.Target(self)
        self.target.daemon.arguments[0] = str(program)
        self.target.start()
        content = os.urandom(MIB)
        version = self.target.import_image(content)
        self.links = [self.target.put_link(name, version, "keep") for name in ("one", "two")]
        for link in self.links:
            target.qemu_io(self.target.url(link), "write -P 7 64k 8k")
            processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")  # noqa: B023

    def readers(self):
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == self.target.daemon.pid:
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def look(self, link):
        """Starts a look in a thread of its own, and returns when the reader runs."""
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.target.api.get(f"/links/{link['id']}/usage")))
        thread.start()
        self.addCleanup(thread.join)
        processes.wait_until(self.readers, "the reader runs")

        def answer():
            thread.join(30)
            return answers[0]
        return answer

    def test_one_looks_at_a_time_and_a_save_goes_first(self):
        self.start("exec sleep 1000")
        one, two = self.links
        answer = self.look(one)
        problem = self.check(self.target.api.get(f"/links/{two['id']}/usage"), 503)
        self.assertEqual(problem["type"], "usage-busy")
        self.assertIn("try again", problem["detail"])
        report = self.target.task(self.target.api.post(f"/links/{one['id']}/save", {"id": str(uuid.uuid4())}))
        self.assertEqual(report["state"], "done", report)
        problem = self.check(answer(), 409)
        self.assertEqual(problem["type"], "disk-busy")
        self.assertIn("try again when that has ended", problem["detail"])
        processes.wait_until(lambda: not self.readers(), "the reader is gone")
        for disturb in ("reset", "removal"):
            with self.subTest(disturb=disturb):
                answer = self.look(two)
                if disturb == "reset":
                    self.check(self.target.api.post(f"/links/{two['id']}/reset"), 200)
                else:
                    self.check(self.target.api.delete(f"/links/{two['id']}"), 204)
                self.check(answer(), 409)
        answer = self.look(one)
        self.target.daemon.stop()
        self.check(answer(), 503)

    def test_readers_that_die_or_talk_nonsense(self):
        for script, says in (("kill -SEGV $$", "was killed by signal 11"), ("exit 3", "exited with code 3"),
                             ("exec cat /dev/urandom >&0", "cannot be"), ("echo no disk; exit 1", "exited with code 1"),
                             ("id -u >&2; cat /etc/shadow >&0", None)):
            with self.subTest(script=script):
                self.start(script)
                found = self.check(self.target.api.get(f"/links/{self.links[0]['id']}/usage"), 200)
                self.assertEqual((found["complete"], found["used_bytes"], len(found["partitions"])), (False, 8192, 1))
                self.assertEqual(found["partitions"][0]["other_bytes"], 8192)
                if says:
                    self.assertIn(says, found["why"])
                self.target.daemon.stop()
                shutil.rmtree(self.target.state_dir)

    def test_a_target_without_its_reader_says_so(self):
        self.start("exit 0")
        (self.folder / "bin" / "goldlink-usage-reader").unlink()
        found = self.check(self.target.api.get(f"/links/{self.links[0]['id']}/usage"), 200)
        self.assertIn("goldlink-usage-reader", found["why"])

    def test_a_killed_reader_is_missed(self):
        self.start("exec sleep 1000")
        answer = self.look(self.links[0])
        for pid in self.readers():
            os.kill(pid, signal.SIGKILL)
        self.assertIn("was killed by signal 9", self.check(answer(), 200)["why"])


if __name__ == "__main__":
    unittest.main()
