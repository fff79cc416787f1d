#!/usr/bin/env python3
"""A room starts at eight: many simulated clients replay a recorded Debian boot at once (boot_storm, over libiscsi), from
a target whose caches are cold. Says what is read from the disk, beside what one boot reads, and how long it takes beside
tgt with the same trace over a raw file.

    tests/bench/store/storm.py [--clients 100] [--rounds 3] [--folder /var/tmp] [--json FILE]

Goldlink gives each client a disk of its own (policy discard); tgt's clients share one, as it has no overlays.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from bench.peers import GIB, LOAD_CORE, TARGET_CORE, Tgt, prefer, prefer_self  # noqa: E402
from harness import processes  # noqa: E402
from harness.target import Target  # noqa: E402

TRACE = pathlib.Path(__file__).resolve().parent / "debian_boot.trace"
BLOCK = 4096
IQN = "iqn.2026-11.io.goldlink:storm-{}"


def commands():
    return [(kind, int(block) * 512, int(count) * 512) for kind, block, count in
            (line.split() for line in TRACE.read_text().splitlines() if not line.startswith("#"))]


def make_disk(path):
    """A disk as large as the trace's, that has data wherever it is read."""
    with open(path, "wb") as file:
        end = max(offset + length for _, offset, length in commands())
        file.truncate(-(-end // (1 << 20)) << 20)
        for kind, offset, length in commands():
            if kind == "r":
                file.seek(offset // BLOCK * BLOCK)
                file.write(os.urandom(-(-(offset + length) // BLOCK) * BLOCK - offset // BLOCK * BLOCK))


def evict(folder):
    """Nothing of a folder's files stays in the page cache."""
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_from_disk(pid):
    for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("read_bytes:"):
            return int(line.split()[1])
    raise RuntimeError("the kernel does not count reads")


class Storm:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.image = folder / "disk.raw"
        make_disk(self.image)
        self.results = {}

    def boot(self, name, clients, pid, port, targets, lun, credential=()):
        before = bytes_from_disk(pid)
        done = subprocess.run(
            ["taskset", "-c", LOAD_CORE, processes.binary("boot_storm"), "--portal", f"127.0.0.1:{port}", "--targets", targets,
             "--lun", str(lun), "--trace", str(TRACE), "--clients", str(clients), *credential],
            capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stderr.strip()}")
        sample = {**json.loads(done.stdout), "disk_bytes": bytes_from_disk(pid) - before}
        self.results.setdefault(name, []).append(sample)
        print(f"  {name}: {sample['seconds']:.2f} s, {sample['disk_bytes'] / 1e6:.1f} MB from the disk", file=sys.stderr, flush=True)
        return sample

    def goldlink(self, name, clients, prewarmed=False):
        """Imports, makes a link a client, starts anew with cold caches, and boots."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        ram = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-bench-", dir="/dev/shm"))
        served = Target(folder / "t", ["--reactors", "1", "--boot-trace", "1" if prewarmed else "0", "--ram-dir", ram,
                                       "--ram-budget", 4 * GIB], wrapper=("taskset", "-c", TARGET_CORE))
        served.start()
        try:
            digest = served.import_image(self.image)
            for number in range(clients):
                served.link(IQN.format(number), digest)
            if prewarmed:  # one boot, of which the target keeps what it read
                link = served.link(IQN.format("first"), digest)
                boot = served.api.post(f"/links/{link}/boots", {"boot_id": str(uuid.uuid4())}).json
                self.boot("the boot that is recorded", 1, served.daemon.pid, served.port, IQN.format("first"), 0,
                          ("--username", boot["username"], "--secret", boot["secret"]))
                processes.wait_until(lambda: served.api.get(f"/versions/{digest}").json["boot_trace"], "it is kept")
            served.stop()
            evict(folder)
            served.start()
            if self.options.prefer:
                prefer(served.daemon.pid)
            if prewarmed:
                processes.wait_until(lambda: served.api.get(f"/versions/{digest}").json["boot_trace"]["prewarmed_at"],
                                     "it is read ahead")
            return self.boot(name, clients, served.daemon.pid, served.port, IQN, 0)
        finally:
            served.stop()
            shutil.rmtree(folder)
            shutil.rmtree(ram)

    def tgt(self, name, clients):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        tgt = Tgt(folder, self.image)
        evict(folder)
        tgt.start()
        if self.options.prefer:
            prefer(tgt.pid)
        try:
            return self.boot(name, clients, tgt.pid, tgt.port, tgt.target, tgt.lun)
        finally:
            tgt.stop()
            shutil.rmtree(folder)

    def table(self):
        many = self.options.clients
        lines = ["| what | seconds | slowest client | MB from the disk |", "|---|---|---|---|"]
        median = lambda name, field: statistics.median(sample[field] for sample in self.results[name])
        for name in self.results:
            lines.append(f"| {name} | {median(name, 'seconds'):.2f} | {median(name, 'client_worst'):.2f} | "
                         f"{median(name, 'disk_bytes') / 1e6:.1f} |")
        one, storm = (median(f"Goldlink, {count}", "disk_bytes") for count in ("1 client", f"{many} clients"))
        faster = median(f"tgt, {many} clients", "seconds") / median(f"Goldlink, {many} clients", "seconds")
        return "\n".join([*lines, "", f"{many} clients read {storm / one:.2f} times from the disk what one does; "
                                      f"{faster:.1f} times as fast as tgt"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default="/var/tmp", help="on a disk: what is in a tmpfs cannot be cold")
    parser.add_argument("--prefer", action="store_true", help="run before other work of a machine that is not quiet")
    parser.add_argument("--json", help="write every sample to this file")
    options = parser.parse_args()
    if options.prefer:
        prefer_self()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-bench-", dir=options.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        storm = Storm(options, folder)
        for round_number in range(options.rounds):
            print(f"round {round_number + 1}/{options.rounds}", file=sys.stderr, flush=True)
            storm.goldlink("Goldlink, 1 client", 1)
            storm.goldlink(f"Goldlink, {options.clients} clients", options.clients)
            storm.goldlink(f"Goldlink, {options.clients} clients, read ahead", options.clients, prewarmed=True)
            storm.tgt(f"tgt, {options.clients} clients", options.clients)
    print(storm.table())
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(storm.results, indent=1) + "\n")


if __name__ == "__main__":
    main()
