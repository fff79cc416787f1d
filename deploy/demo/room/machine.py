"""A PC of the room: QEMU with one network card, no disk, BIOS or UEFI, and the agent's port.

The guest's serial console goes to a file. The image's agent (deploy/demo/image/guest) answers on a
virtio port; its HELLO names the boot, so that the answer of one boot is told from the next.
"""
import base64
import os
import shutil
import socket
import time
import uuid

from .child import Child, RoomError, tail, wait_until

OVMF_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
# Plain x86-64: each newer feature shown makes the guest load modules for it and use instructions
# that are slow to emulate.
PROCESSOR = "qemu64"
BOOT_TIMEOUT_SECONDS = 300  # emulated, on a machine that may be busy; alone it takes 40
COMMAND_TIMEOUT_SECONDS = 120
SHUTDOWN_TIMEOUT_SECONDS = 120


class Lines:
    """A unix stream socket read line by line with a deadline."""

    def __init__(self, connected_socket):
        self._socket = connected_socket
        self._buffer = b""

    @classmethod
    def connected(cls, path):
        """None as long as nobody listens there."""
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            client.close()
            return None
        return cls(client)

    def send(self, text):
        self._socket.settimeout(COMMAND_TIMEOUT_SECONDS)
        self._socket.sendall(text.encode() + b"\n")

    def next(self, timeout_seconds):
        """The next line, or None when there is none in time."""
        deadline = time.monotonic() + timeout_seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                return None
            if not data:
                raise ConnectionError("the other side is closed")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode("utf-8", "replace").strip("\r")

    def close(self):
        self._socket.close()


class Machine:
    """Made by Room.machine(). `stage` may be set to a function that tells how far the boot came; its
    text goes into the message of a boot that failed."""

    def __init__(self, room, name, firmware, mac, tap, memory_mib):
        self.name = name
        self.firmware = firmware
        self.mac = mac
        self.stage = None
        self.boot_id = None
        self.serial_path = os.path.join(room.log_dir, f"{name}.serial")
        self._room = room
        self._agent_path = os.path.join(room.log_dir, f"{name}.agent")
        self._variables_path = os.path.join(room.log_dir, f"{name}.vars.fd")
        self._tap = tap
        self._memory_mib = memory_mib
        self._qemu = None
        self._agent = None
        self._next_command = 1

    def _command(self):
        accel = os.environ.get("GOLDLINK_QEMU_ACCEL", "tcg,thread=multi")
        card = f"virtio-net-pci,netdev=lan,mac={self.mac},bootindex=1"
        command = ["qemu-system-x86_64", "-name", self.name,
                   "-uuid", str(uuid.uuid5(uuid.NAMESPACE_OID, self.mac)), "-accel", accel, "-cpu", PROCESSOR,
                   "-m", str(self._memory_mib), "-nodefaults", "-display", "none",
                   "-no-reboot",  # a machine that resets ends; reboot() starts it as from cold
                   "-chardev", f"file,id=console,path={self.serial_path},append=on",
                   "-serial", "chardev:console",
                   "-chardev", f"socket,id=agent,path={self._agent_path},server=on,wait=off",
                   "-device", "virtio-serial-pci",
                   "-device", "virtserialport,chardev=agent,name=io.goldlink.agent",
                   "-device", "virtio-rng-pci",
                   "-netdev", f"tap,id=lan,ifname={self._tap},script=no,downscript=no"]
        if self.firmware == "uefi":
            if not os.path.exists(self._variables_path):
                shutil.copyfile(OVMF_VARS, self._variables_path)
            # The card's own ROM is an iPXE; without it the firmware's PXE does what a PC's does.
            return command + ["-machine", "q35", "-device", card + ",romfile=",
                              "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF_CODE}",
                              "-drive", f"if=pflash,unit=1,format=raw,file={self._variables_path}"]
        if self.firmware != "bios":
            raise ValueError(f"firmware is bios or uefi, not {self.firmware}")
        return command + ["-machine", "q35,graphics=off", "-device", card]

    def start(self):
        self._qemu = self._room.start("switch", self.name, self._command())
        self._agent = self._qemu.wait_for(lambda: Lines.connected(self._agent_path), "agent socket", 30)

    @property
    def pid(self):
        return self._qemu.pid

    def running(self):
        return self._qemu is not None and self._qemu.process.poll() is None

    def wait_booted(self, timeout_seconds=BOOT_TIMEOUT_SECONDS):
        """Waits until a boot other than the last seen one has reached multi-user, all units started.
        Returns the seconds this took."""
        started = time.monotonic()
        deadline = started + timeout_seconds
        hello = None
        while hello is None:
            self._qemu.check_alive()
            line = self._agent.next(1)
            words = line.split() if line else []
            if len(words) == 2 and words[0] == "HELLO" and words[1] != self.boot_id:
                hello = words[1]
            elif time.monotonic() > deadline:
                reached = f"; stages: {self.stage()}" if self.stage else ""
                raise RoomError(f"{self.name} ({self.firmware}): not booted within {timeout_seconds} s"
                                f"{reached}; its console ends with:\n{tail(self.serial_path)}")
        self.boot_id = hello
        left = max(10.0, deadline - time.monotonic())
        state = self.run("systemctl is-system-running --wait; systemctl is-active multi-user.target",
                         timeout_seconds=left, check=False).split()
        if state != ["running", "active"]:
            raise RoomError(f"{self.name}: booted, but systemd says {state}:\n"
                            + self.run("systemctl --failed --no-pager; systemctl list-jobs", check=False))
        return time.monotonic() - started

    def run(self, command, timeout_seconds=COMMAND_TIMEOUT_SECONDS, check=True):
        """Runs a shell command in the guest and returns its output (stdout and stderr)."""
        number = self._next_command
        self._next_command += 1
        self._agent.send(f"RUN {number} {base64.b64encode(command.encode()).decode()}")
        deadline = time.monotonic() + timeout_seconds
        while True:
            line = self._agent.next(max(0.0, deadline - time.monotonic()))
            if line is None:
                raise RoomError(f"{self.name}: no answer to `{command}` within {timeout_seconds:.0f} s; "
                                f"its console ends with:\n{tail(self.serial_path)}")
            words = line.split(" ")
            if words[0] == "HELLO" and len(words) == 2 and words[1] != self.boot_id:
                raise RoomError(f"{self.name}: rebooted while running `{command}`")
            if words[:2] == ["DONE", str(number)]:
                break
        output = base64.b64decode(words[3] if len(words) > 3 else "").decode("utf-8", "replace")
        if check and words[2] != "0":
            raise RoomError(f"{self.name}: `{command}` ended with {words[2]}:\n{output}")
        return output

    def begin_reboot(self):
        """An orderly reboot from within the guest; the machine then starts as from cold."""
        self.run("systemd-run --quiet --on-active=0 systemctl reboot")
        self._wait_off(SHUTDOWN_TIMEOUT_SECONDS)
        self.start()

    def reboot(self):
        """begin_reboot() and wait_booted()."""
        self.begin_reboot()
        return self.wait_booted()

    def power_off(self):
        """An orderly shutdown from within the guest."""
        self.run("systemd-run --quiet --on-active=0 systemctl poweroff")
        self._wait_off(SHUTDOWN_TIMEOUT_SECONDS)

    def _wait_off(self, timeout_seconds):
        if wait_until(lambda: not self.running(), time.monotonic() + timeout_seconds) is None:
            raise RoomError(f"{self.name}: not off within {timeout_seconds} s; its console ends with:\n"
                            f"{tail(self.serial_path)}")
        self.stop()

    def stop(self):
        """Pulls the plug."""
        if self._agent:
            self._agent.close()
            self._agent = None
        if self._qemu:
            self._qemu.kill()
            self._qemu = None
            if os.path.exists(self._agent_path):
                os.unlink(self._agent_path)
