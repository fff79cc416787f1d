"""Clients that write to their disks without a pause and know what each block must hold: through kills, cut
lines and refusals. A block holds whole what was acknowledged last, or what was on its way when the line broke."""

import os
import random
import struct
import threading
import time

from .iscsi import CheckCondition, Closed, Initiator, LoginFailed, random_isid

BLOCK_BYTES = 4096
SECTORS = BLOCK_BYTES // 512
RETRY_SECONDS = 0.05


class Wrong(AssertionError):
    """A disk held what it must not hold."""


class BlockWriter(threading.Thread):
    """One client at one link's disk, as `link create --json` says it. `done` counts its commands."""

    def __init__(self, number, link, blocks=256, seed=None):
        super().__init__(name=f"writer {number}", daemon=True)
        self.number, self.link, self.blocks = number, link, blocks
        self.random = random.Random(number if seed is None else seed)
        self.known = {}  # block: the sequence numbers that it may hold, one unless the line broke
        self.sequence, self.done, self.reconnects = 0, 0, 0
        self.wrong = None  # why it gave up
        self.session = None
        self.ending = threading.Event()

    def content(self, block, sequence):
        if sequence == 0:
            return bytes(BLOCK_BYTES)  # the image's
        return struct.pack("<IIQ", self.number, block, sequence) * (BLOCK_BYTES // 16)

    def run(self):
        try:
            while not self.ending.is_set():
                self.try_step(self.step)
            while not self.try_step(self.compare_all):
                pass
        except Exception as problem:  # pylint: disable=broad-except; the test asks for it
            self.wrong = f"{self.name}: {problem!r}"
        finally:
            if self.session:
                self.session.close()

    def try_step(self, step):
        """False: the target did not serve; what was under way is told by `known`."""
        try:
            if self.session is None:
                self.connect()
            step()
            return True
        except (OSError, Closed, LoginFailed, CheckCondition):
            if self.session:
                self.session.close()
                self.reconnects += 1
            self.session = None
            time.sleep(RETRY_SECONDS)
            return False

    def connect(self):
        session = Initiator(self.link["portal"], isid=random_isid(), timeout_seconds=20)
        try:
            session.login(self.link["iqn"], self.link["username"], self.link["secret"])
        except BaseException:
            session.close()
            raise
        self.session = session

    def step(self):
        block = self.random.randrange(self.blocks)
        if len(self.known.get(block, ())) > 1 or self.random.random() < 0.3:
            self.compare(block)
            return
        self.sequence += 1
        self.known.setdefault(block, {0}).add(self.sequence)
        self.session.write(block * SECTORS, self.content(block, self.sequence))
        self.known[block] = {self.sequence}
        self.done += 1

    def compare(self, block):
        if block not in self.known:
            return
        found = self.session.read(block * SECTORS, SECTORS)
        for sequence in self.known[block]:
            if found == self.content(block, sequence):
                self.known[block] = {sequence}
                self.done += 1
                return
        raise Wrong(f"block {block} must hold one of {sorted(self.known[block])}, and has {self.told(found)}")

    def told(self, found):
        parts = {found[at:at + 16] for at in range(0, BLOCK_BYTES, 16)}
        if len(parts) > 1:
            return f"a mixture of {len(parts)} contents"
        number, block, sequence = struct.unpack("<IIQ", parts.pop())
        return f"writer {number}'s block {block}, sequence {sequence}"

    def compare_all(self):
        for block in sorted(self.known):
            self.compare(block)


class Writers:
    """`links`, each with a writer."""

    def __init__(self, links, blocks=256):
        base = int.from_bytes(os.urandom(4), "little")
        self.seed = int(os.environ.get("GOLDLINK_SEED", base))
        self.all = [BlockWriter(n, link, blocks, self.seed + n) for n, link in enumerate(links)]

    def start(self):
        for writer in self.all:
            writer.start()
        return self

    def check(self):
        wrong = [writer.wrong for writer in self.all if writer.wrong]
        if wrong:
            raise Wrong(f"seed {self.seed}: " + "; ".join(wrong))

    def wait_progress(self, commands=20, timeout_seconds=60):
        """Until each has had so many commands answered from now on."""
        marks = [(writer, writer.done + commands) for writer in self.all]
        deadline = time.monotonic() + timeout_seconds
        while any(writer.done < mark for writer, mark in marks):
            self.check()
            if time.monotonic() > deadline:
                slow = [writer.name for writer, mark in marks if writer.done < mark]
                raise AssertionError(f"not served within {timeout_seconds} s: {', '.join(slow)}")
            time.sleep(0.01)

    def finish(self, timeout_seconds=120):
        """Ends them; each compares all that it wrote. Returns how many commands were answered."""
        for writer in self.all:
            writer.ending.set()
        deadline = time.monotonic() + timeout_seconds
        for writer in self.all:
            writer.join(max(0, deadline - time.monotonic()))
            if writer.is_alive():
                raise AssertionError(f"{writer.name} did not end")
        self.check()
        return sum(writer.done for writer in self.all)
