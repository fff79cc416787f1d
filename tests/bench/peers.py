"""The targets that are compared: each serves a disk of its own, pinned to one core, and is started and
stopped by its owner. `port`, `target` (IQN) and `lun` say where an initiator finds the disk."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import uuid

from harness import processes
from harness.target import Target

MIB = 1 << 20
GIB = 1 << 30
TARGET_CORE, LOAD_CORE = "0", "1"


def fill(path, size_bytes):
    """A file of random bytes, so that no block is zero or a copy of another."""
    with open(path, "wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(os.urandom(MIB))


def prefer(pid):
    """Puts a process's scheduling group before all others (Linux autogroups; needs root)."""
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{pid}/autogroup").write_text("-20")


def prefer_self():
    """The same for this process and what it starts from now on."""
    if os.getsid(0) != os.getpid():
        os.setsid()  # a group of our own
    prefer("self")


class Pinned:
    """A process on the target's core."""

    def begin(self, command, **options):
        self.process = subprocess.Popen(["taskset", "-c", TARGET_CORE, *command], **options)

    @property
    def pid(self):
        return self.process.pid

    def end(self, seconds=5):
        """Waits for its end, which was asked for; kills it when that takes longer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        if self.process.poll() is None:
            self.process.kill()  # ours, by its own pid
            self.process.wait()


class Tgt(Pinned):
    """Debian's tgtd over one file, with a control port and portal of its own."""

    name, lun = "tgt", 1

    def __init__(self, folder, image, backing=None):
        """`backing`: a file to serve as it is, in place of a copy of `image`."""
        self.backing = backing or folder / "tgt.img"
        if not backing:
            shutil.copyfile(image, self.backing)
        self.control = str(processes.free_port())
        self.port = processes.free_port()
        self.target = f"iqn.2026-11.io.goldlink:bench-{uuid.uuid4().hex[:8]}"
        self.log = open(folder / "tgtd.log", "wb")

    def admin(self, *arguments):
        return subprocess.run(["tgtadm", "-C", self.control, "--lld", "iscsi", *arguments],
                              capture_output=True, text=True, timeout=30, check=False)

    def start(self):
        self.begin(["tgtd", "-f", "-C", self.control, "--iscsi", f"portal=127.0.0.1:{self.port}"],
                   stdout=self.log, stderr=self.log)
        processes.wait_until(lambda: self.admin("--mode", "system", "--op", "show").returncode == 0, "tgtd answers tgtadm")
        for step in (["--mode", "target", "--op", "new", "--tid", "1", "-T", self.target],
                     ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", str(self.lun),
                      "-b", str(self.backing), "--bstype", "rdwr"],
                     ["--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"]):
            done = self.admin(*step)
            if done.returncode != 0:
                raise RuntimeError(f"tgtadm {' '.join(step)}: {done.stderr or done.stdout}")

    def stop(self):
        self.admin("--op", "delete", "--mode", "system")
        self.end(2)
        self.log.close()


class Istgt(Pinned):
    """Debian's istgt over one file."""

    name, lun = "istgt", 0
    sessions_at_most = 1  # 32 that read at once: it stops answering

    def __init__(self, folder, image):
        self.folder = folder / "istgt"
        self.folder.mkdir()
        shutil.copyfile(image, self.folder / "disk.img")
        self.port = processes.free_port()
        self.target = "iqn.2026-11.io.goldlink:istgt"
        (self.folder / "auth.conf").touch(mode=0o600)
        (self.folder / "istgt.conf").write_text(f"""
[Global]
  NodeBase "iqn.2026-11.io.goldlink"
  PidFile {self.folder}/pid
  AuthFile {self.folder}/auth.conf
  MediaDirectory {self.folder}
  LogFacility "local7"
  DiscoveryAuthMethod None
  MaxSessions 64
  MaxConnections 4
  MaxR2T 32
  FirstBurstLength 262144
  MaxBurstLength 262144
  MaxRecvDataSegmentLength 262144
[UnitControl]
  AuthMethod None
  Portal UC1 127.0.0.1:{processes.free_port()}
  Netmask 127.0.0.0/8
[PortalGroup1]
  Portal DA1 127.0.0.1:{self.port}
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 127.0.0.0/8
[LogicalUnit1]
  TargetName istgt
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UnitType Disk
  QueueDepth 64
  LUN0 Storage {self.folder}/disk.img Auto
""")
        self.log = open(self.folder / "log", "wb")

    def start(self):
        self.begin(["istgt", "-D", "-c", self.folder / "istgt.conf", "-p", self.folder / "pid"],
                   stdout=self.log, stderr=self.log)
        processes.wait_until(self.listens, "istgt listens")

    def listens(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"istgt ended: {(self.folder / 'log').read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.terminate()
        self.end()
        self.log.close()


class Echo(Pinned):
    """Loopback TCP alone: requests answered from memory without any protocol. What is left for a target."""

    name, lun, target, load_options = "echo", 0, "none", ("--bare", "1")

    def __init__(self, folder, image):
        del folder, image

    def start(self):
        self.begin([processes.binary("loopback_echo")], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def stop(self):
        self.process.terminate()
        self.end()
        self.process.stdout.close()


class Goldlink:
    """goldlink-target with the image imported and one `discard` link to it."""

    name, lun = "goldlink", 0
    options = ()

    def __init__(self, folder, image):
        self.image = image
        self.target = f"iqn.2026-11.io.goldlink:bench-{self.name}"
        ram = folder / f"ram-{self.name}"
        ram.mkdir()
        self.served = Target(folder / self.name,
                             ["--reactors", "1", "--ram-dir", ram, "--ram-budget", 4 * GIB, *self.options],
                             wrapper=("taskset", "-c", TARGET_CORE))
        self.port = self.served.port

    def start(self):
        self.served.start()
        self.served.link(self.target, self.served.import_image(self.image))

    @property
    def pid(self):
        return self.served.daemon.pid

    def stop(self):
        self.served.stop()


class Paged(Goldlink):
    """The same without locked memory: every image read is a read of the page cache."""

    name, options = "paged", ("--locked-memory", "0")


class RamTarget(Pinned):
    """The protocol engine over memory, without store and overlay: what they may cost at most."""

    name, lun = "ram", 0

    def __init__(self, folder, image):
        del image
        self.log = open(folder / "ram_target.log", "wb")
        self.port = processes.free_port()
        self.target = "iqn.2026-11.io.goldlink:ram0"

    def start(self):
        self.begin([processes.binary("ram_target"), "--listen", f"127.0.0.1:{self.port}", "--core", TARGET_CORE,
                    "--size-mib", "1024"], stdout=subprocess.PIPE, stderr=self.log, text=True)
        if not self.process.stdout.readline().startswith("ready"):
            raise RuntimeError("ram_target does not get ready")

    def stop(self):
        self.process.terminate()
        self.end()
        self.process.stdout.close()
        self.log.close()


TARGETS = {each.name: each for each in (Tgt, Istgt, Goldlink, Paged, RamTarget, Echo)}
