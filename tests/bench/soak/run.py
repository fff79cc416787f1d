#!/usr/bin/env python3
"""A room at work for a while: clients that write and know what each block must hold, beside them an admin's day of
leases, resets and imports. Ends with 1 when a disk holds what it must not, or when a daemon's memory or descriptors
grow.

    tests/bench/soak/run.py [--minutes 20] [--clients 20] [--json FILE]
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from harness.block_writer import BlockWriter, Writers  # noqa: E402
from harness.processes import wait_until  # noqa: E402
from harness.up import Up  # noqa: E402

MIB = 1 << 20
DAEMONS = ("goldlink-target", "goldlink-manager", "postgres")
ENOUGH_SAMPLES = 20  # to tell growth from warming up
MAY_GROW_SHARE, MAY_GROW_BYTES, MAY_GROW_DESCRIPTORS = 0.1, 8 * MIB, 8


def memory_of(pid):
    """What a process has of its own, without what it maps of files."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def descriptors_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Room:
    def __init__(self, folder, clients):
        self.folder, self.clients = folder, clients
        self.up = Up(folder)
        self.samples = {name: [] for name in DAEMONS}
        self.rounds = 0

    def cli(self, *arguments):
        done = self.up.cli(*arguments)
        if done.code != 0:
            raise RuntimeError(f"{arguments}: {done}")
        return done

    def begin(self):
        self.up.start()
        wait_until(self.up.healthy, "every part works")
        self.cli("image", "create", "blank", "--size", "64M")
        links = []
        for number in range(self.clients):
            self.cli("client", "add", f"PC-{number:03}", "--mac", f"52:54:00:00:01:{number:02x}")
            links.append(self.cli("link", "create", "--client", f"PC-{number:03}", "--image", "blank",
                                  "--policy", "keep", "--json").json["id"])
        shown = [self.cli("link", "show", link, "--json").json for link in links]
        return Writers(shown).start()

    def work(self):
        """One round of an admin's day."""
        self.rounds += 1
        lease = self.cli("link", "create", "--lease", "10m", "--image", "blank", "--json").json
        writer = BlockWriter(1000 + self.rounds, lease, blocks=16)
        writer.start()
        wait_until(lambda: writer.done > 50 or writer.wrong, "the lease's disk is written")
        writer.ending.set()
        writer.join(60)
        if writer.wrong or writer.is_alive():
            raise RuntimeError(writer.wrong or "the lease's writer did not end")
        self.cli("link", "reset", lease["id"])
        self.cli("link", "rm", lease["id"])
        disk = self.folder / "disk.raw"
        with open(disk, "wb") as file:
            file.write(os.urandom(4 * MIB))
        self.cli("image", "import", "other", disk, "--format", "raw")
        self.cli("image", "rm", "other")

    def sample(self):
        for name, pid in self.up.children().items():
            if name in self.samples:
                self.samples[name].append((memory_of(pid), descriptors_of(pid)))

    def grown(self):
        """What grew from the second fifth of the time to the last; the first is for warming up."""
        found = []
        for name, samples in self.samples.items():
            fifth = max(1, len(samples) // 5)
            for index, what, least in ((0, "memory", MAY_GROW_BYTES), (1, "descriptors", MAY_GROW_DESCRIPTORS)):
                before = statistics.median(sample[index] for sample in samples[fifth:2 * fifth] or samples)
                after = statistics.median(sample[index] for sample in samples[-fifth:])
                print(f"{name:18} {what:12} {before:14,.0f} -> {after:14,.0f}")
                if len(samples) >= ENOUGH_SAMPLES and after - before > max(least, before * MAY_GROW_SHARE):
                    found.append(f"{name}: {what} grew from {before:,.0f} to {after:,.0f}")
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        room = Room(pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="goldlink-soak-"))),
                    options.clients)
        stack.callback(room.up.stop)
        writers = room.begin()
        end = time.monotonic() + options.minutes * 60
        while time.monotonic() < end or room.rounds < 2:
            room.work()
            room.sample()
            writers.check()
        answered = writers.finish()
        print(f"{answered:,} writes and compared reads of {options.clients} clients, {room.rounds} rounds of an "
              f"admin's work, {options.minutes:g} minutes: every block as it must be")
        grown = room.grown()
    if options.json:
        options.json.write_text(json.dumps(room.samples))
    for line in grown:
        print(line, file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
