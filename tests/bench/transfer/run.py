#!/usr/bin/env python3
"""Measures what a copy costs: a disk image sent to the server, fetched from it, and sent on to another, beside the
import of a file that lies on the server already, in the same run.

Everything lies in tmpfs, so that the software is measured and not a disk. No two imports share a chunk. The servers
run on one core and the command line, which in life is another machine, on the other. Rounds are interleaved; figures
are medians.

    tests/bench/transfer/run.py [--rounds 3] [--mib 1024] [--shared-cores] [--json FILE]
"""

import argparse
import contextlib
import hashlib
import json
import mmap
import os
import pathlib
import statistics
import struct
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from harness.up import Up  # noqa: E402

MIB = 1 << 20
GIB = 1 << 30
BLOCK = 4096
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(process):
    """User and system time of each daemon below `goldlink up`, children that ended included, by its name."""
    used = {}
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            name, rest = (folder / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            fields = rest.split()
            if int(fields[1]) == process.pid:
                used[name] = used.get(name, 0) + sum(map(int, fields[11:15])) * TICK_SECONDS
    return used


class Disk:
    """An image of random bytes, and as many others of which no block is the same."""

    def __init__(self, path, size):
        self.path, self.size, self.stamp = path, size, 0
        with open(path, "wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        with open(path, "r+b") as file:
            file.write(bytes(510) + b"\x55\xaa")  # a boot sector, so that it is taken for a disk

    def renew(self):
        self.stamp += 1
        with open(self.path, "r+b") as file, mmap.mmap(file.fileno(), self.size) as memory:
            for at in range(1024, self.size, BLOCK):
                struct.pack_into("<QQ", memory, at, self.stamp, at)
        return self.path


class Bench:
    def __init__(self, options, folder, stack):
        self.size = options.mib * MIB
        self.folder = folder
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1 and not options.shared_cores:  # inherited by what is started
            stack.callback(os.sched_setaffinity, 0, cores)
            os.sched_setaffinity(0, cores[:1])
        self.server = stack.enter_context(started(folder / "one", ["--import-dir", folder]))
        self.other = stack.enter_context(started(folder / "two", []))
        if len(cores) > 1 and not options.shared_cores:
            os.sched_setaffinity(0, cores[1:2])
        self.disk = Disk(folder / "disk.raw", self.size)
        self.token = folder / "two.token"
        self.token.write_text(self.other.token)
        self.samples = {}

    def note(self, name, value):
        self.samples.setdefault(name, []).append(value)

    def timed(self, name, *arguments, server=None):
        """Runs the CLI and notes what it took, each of our processes too."""
        server = server or self.server
        before, begin = cpu_seconds(server.process), time.monotonic()
        done = server.cli(*arguments, timeout_seconds=1200)
        seconds = time.monotonic() - begin
        if done.code != 0:
            raise RuntimeError(f"{arguments}: {done}")
        self.note(f"{name}, s", seconds)
        for program, used in cpu_seconds(server.process).items():
            if program in ("goldlink-manage", "goldlink-target"):
                cpu = (used - before.get(program, 0)) * GIB / self.size
                self.note(f"{name}, CPU of {'manager' if program.endswith('manage') else 'target'}, s/GiB", cpu)

    def round(self, number):
        image = f"disk{number}"
        self.disk.renew()
        begin = time.monotonic()
        with open(self.disk.path, "rb") as file:
            hashlib.file_digest(file, "sha256")
        self.note("SHA-256 of the file, s", time.monotonic() - begin)
        self.timed("import of a server path", "image", "import", f"path{number}", "--server-path", self.disk.path)
        self.disk.renew()
        self.timed("upload", "image", "import", image, self.disk.path)
        self.timed("export", "image", "export", image, self.folder / "out.raw")
        if (self.folder / "out.raw").read_bytes() != self.disk.path.read_bytes():
            raise RuntimeError("the export is not what was imported")
        (self.folder / "out.raw").unlink()
        self.timed("push", "image", "push", image, "--to", self.other.url, "--to-token-file", self.token)
        self.disk.renew()
        self.timed("--delta", "image", "import", image, self.disk.path, "--delta")
        for server, names in ((self.server, [image, f"path{number}"]), (self.other, [image])):
            for name in names:
                server.cli("image", "rm", name)
            server.cli("gc")


@contextlib.contextmanager
def started(folder, arguments):
    folder.mkdir()
    server = Up(folder, arguments).start()
    try:
        yield server
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--shared-cores", action="store_true", help="all on all cores")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="transfer-")))
        bench = Bench(options, folder, stack)
        for number in range(options.rounds):
            bench.round(number)
    medians = {name: statistics.median(values) for name, values in bench.samples.items()}
    for name, value in medians.items():
        print(f"{name:45} {value:8.2f}")
    base = medians["import of a server path, s"]
    for name in ("upload", "export", "push", "--delta"):
        print(f"{name + ' to the import of a server path':45} {medians[name + ', s'] / base:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(bench.samples))


if __name__ == "__main__":
    main()
