#!/usr/bin/env python3
"""Measures what images and overlays cost: time, memory and space, beside tgt and qemu-img in the same run.

Everything lies in tmpfs, so that the software is measured and not a disk. Under load, targets are pinned to
core 0 and the load generator to core 1. Rounds are interleaved; figures are medians.

    tests/bench/store/run.py [--rounds 3] [--seconds 2] [--mib 1024] [--json FILE]
"""

import argparse
import contextlib
import hashlib
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from bench.peers import GIB, LOAD_CORE, MIB, TARGET_CORE, Pinned, Tgt, fill, prefer, prefer_self  # noqa: E402
from harness import processes  # noqa: E402
from harness.target import Target  # noqa: E402

LINKS = 200
OPEN_GIB = 256


def resident_bytes(pid):
    """Memory of the process's own; what it maps of files is the page cache's."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) * 1024


def timed(work):
    begin = time.monotonic()
    result = work()
    return time.monotonic() - begin, result


class Qcow2(Pinned):
    """A qcow2 file over the raw image, shown as a plain file by qemu's storage daemon, for tgt to serve."""

    def __init__(self, folder, image):
        self.file, self.shown = folder / "overlay.qcow2", folder / "overlay.raw"
        self.folder, self.image = folder, image

    def start(self):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.image, "-F", "raw", self.file],
                       check=True, stdin=subprocess.DEVNULL)
        self.shown.touch()
        self.begin(["qemu-storage-daemon",
                    "--blockdev", f"driver=file,node-name=file,filename={self.file}",
                    "--blockdev", "driver=qcow2,node-name=disk,file=file",
                    "--export", f"type=fuse,id=export,node-name=disk,mountpoint={self.shown},writable=on"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        processes.wait_until(lambda: self.shown.stat().st_size > 0, "qemu shows the disk")

    def stop(self):
        self.process.terminate()
        self.end()


class Bench:
    def __init__(self, options, folder, stack):
        self.options, self.folder, self.stack = options, folder, stack
        self.image = folder / "image.raw"
        self.bytes = options.mib * MIB
        fill(self.image, self.bytes)
        self.results = {}

    def note(self, name, value):
        self.results.setdefault(name, []).append(value)
        print(f"  {name}: {value:,.4g}", file=sys.stderr, flush=True)

    def median(self, name):
        return statistics.median(self.results[name])

    @contextlib.contextmanager
    def target(self, pinned=False):
        """A target with nothing in it, that is gone afterwards."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        served = Target(folder / "t", ["--reactors", "1"], wrapper=("taskset", "-c", TARGET_CORE) if pinned else ())
        served.start()
        if self.options.prefer:
            prefer(served.daemon.pid)
        try:
            yield served
        finally:
            served.stop()
            shutil.rmtree(folder)

    def task(self, served, route, **body):
        """Runs a task of the control API to its end; returns its report."""
        identity = str(uuid.uuid4())
        answer = served.api.post(route, {"id": identity, **body})
        if answer.status != 202:
            raise RuntimeError(f"{route}: {answer}")
        report = processes.wait_until(
            lambda: (lambda now: now if now["state"] != "running" else None)(served.api.get(f"/imports/{identity}").json),
            f"{route} ends", 600, step_seconds=0.005)
        if report["state"] != "done":
            raise RuntimeError(f"{route}: {report}")
        return report

    def load(self, port, iqn, lun, pid, seconds, **arguments):
        command = [processes.binary("load_generator"), "--port", str(port), "--target", iqn, "--lun", str(lun),
                   "--set-bytes", str(self.bytes), "--seconds", str(seconds), "--warm-up", "0", "--pid", str(pid),
                   "--core", LOAD_CORE]
        for name, value in arguments.items():
            command += [f"--{name}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"load on {iqn}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    # What is measured

    def imports(self):
        """A raw image into a version, beside qemu-img writing it as qcow2, and SHA-256 alone."""
        with self.target() as served:
            seconds, _ = timed(lambda: self.task(served, "/imports", path=str(self.image), format="raw"))
            self.note("import, MB/s", self.bytes / seconds / 1e6)
        copy = self.folder / "copy.qcow2"
        seconds, _ = timed(lambda: subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.image, copy], check=True, stdin=subprocess.DEVNULL))
        self.note("qemu-img convert, MB/s", self.bytes / seconds / 1e6)
        copy.unlink()
        with open(self.image, "rb") as file:
            seconds, _ = timed(lambda: hashlib.file_digest(file, "sha256"))
        self.note("SHA-256 of one thread, MB/s", self.bytes / seconds / 1e6)

    def fresh_overlays(self):
        """4 KiB random writes into an overlay that has nothing yet."""
        writes = {"depth": 32, "writes": 100}
        for policy in ("discard", "keep"):
            with self.target(pinned=True) as served:
                iqn = f"iqn.2026-11.io.goldlink:bench-{policy}"
                served.link(iqn, self.task(served, "/imports", path=str(self.image), format="raw")["version"]["digest"],
                            policy=policy)
                sample = self.load(served.port, iqn, 0, served.daemon.pid, self.options.seconds, **writes)
                self.note(f"4 KiB random writes into a fresh overlay, {policy}, IOPS", sample["iops"])
        for name in ("raw file under tgt", "qcow2 under tgt"):
            folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
            with contextlib.ExitStack() as stack:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                backing = None
                if name.startswith("qcow2"):
                    qcow2 = Qcow2(folder, self.image)
                    qcow2.start()
                    stack.callback(qcow2.stop)
                    backing = qcow2.shown
                tgt = Tgt(folder, self.image, backing)
                tgt.start()
                stack.callback(tgt.stop)
                sample = self.load(tgt.port, tgt.target, tgt.lun, tgt.pid, self.options.seconds, **writes)
                self.note(f"4 KiB random writes, {name}, IOPS", sample["iops"])

    def commit(self):
        """Every block of a super link's disk written, then made a version; and the memory and space of that overlay."""
        with self.target() as served:
            digest = self.task(served, "/imports", path=str(self.image), format="raw")["version"]["digest"]
            iqn = "iqn.2026-11.io.goldlink:bench-super"
            link = served.link(iqn, digest, policy="super")
            before = resident_bytes(served.daemon.pid)
            changed = self.folder / "changed.raw"
            fill(changed, self.bytes)
            subprocess.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", changed,
                            f"iscsi://{served.portal}/{iqn}/0"], check=True, stdin=subprocess.DEVNULL)
            changed.unlink()
            view = processes.wait_until(
                lambda: (lambda now: now if not now["sessions"] else None)(served.api.get(f"/links/{link}").json),
                "the session has ended")
            gib = self.bytes / GIB
            self.note("memory per GiB written, KiB", (resident_bytes(served.daemon.pid) - before) / gib / 1024)
            self.note("overlay used per byte written", view["overlay"]["used_bytes"] / self.bytes)
            seconds, _ = timed(lambda: self.task(served, f"/links/{link}/commit"))
            self.note("commit of what was written, MB/s", self.bytes / seconds / 1e6)

    def links(self):
        """What one more link costs, and a version that is large."""
        with self.target() as served:
            digest = self.task(served, "/imports", path=str(self.image), format="raw")["version"]["digest"]
            served.link("iqn.2026-11.io.goldlink:bench-first", digest)
            before = resident_bytes(served.daemon.pid)
            seconds, _ = timed(lambda: [served.link(f"iqn.2026-11.io.goldlink:bench-{i}", digest) for i in range(LINKS)])
            self.note("memory per link, KiB", (resident_bytes(served.daemon.pid) - before) / LINKS / 1024)
            self.note("creation of a link, ms", seconds / LINKS * 1000)
            large = self.task(served, "/imports", blank_bytes=OPEN_GIB * GIB)["version"]["digest"]
            before = resident_bytes(served.daemon.pid)
            seconds, _ = timed(lambda: served.link("iqn.2026-11.io.goldlink:bench-large", large))
            self.note(f"open of a {OPEN_GIB} GiB version, ms", seconds * 1000)
            self.note(f"memory of an open {OPEN_GIB} GiB version, MiB",
                      (resident_bytes(served.daemon.pid) - before) / MIB)
            seconds, _ = timed(lambda: served.link("iqn.2026-11.io.goldlink:bench-large-2", large))
            self.note("one more link to it, ms", seconds * 1000)

    def table(self):
        lines = ["| what | median |", "|---|---|"]
        return "\n".join(lines + [f"| {name} | {self.median(name):,.4g} |" for name in self.results])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--mib", type=int, default=1024, help="size of the image")
    parser.add_argument("--folder", default="/dev/shm", help="where everything goes")
    parser.add_argument("--prefer", action="store_true", help="run before other work of a machine that is not quiet")
    parser.add_argument("--json", help="write every sample to this file")
    options = parser.parse_args()
    if options.prefer:
        prefer_self()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-bench-", dir=options.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        bench = Bench(options, folder, stack)
        for round_number in range(options.rounds):
            print(f"round {round_number + 1}/{options.rounds}", file=sys.stderr, flush=True)
            for part in (bench.imports, bench.fresh_overlays, bench.commit, bench.links):
                part()
    print(bench.table())
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(bench.results, indent=1) + "\n")


if __name__ == "__main__":
    main()
