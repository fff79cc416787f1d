"""A child process with its output in a file, that ends with us whatever happens to us."""
import ctypes
import os
import signal
import subprocess
import time

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class RoomError(Exception):
    """Something of the room failed; the message says what, with the end of the log that tells why."""


def die_with_parent():
    """For preexec_fn: the kernel kills this process when the thread that made it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def enter_namespace(file):
    """Moves the calling thread into the network namespace that `file` (/proc/PID/ns/net) stands for."""
    if _libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {file.name}")


def tail(path, lines=20):
    """The end of a log, with control characters of consoles taken out."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 16384))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return f"(no log: {error})"
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text.replace("\r", "\n"))
    kept = [" ".join(line.split()) for line in text.splitlines()]
    return "\n".join([line for line in kept if line][-lines:])


def wait_until(condition, deadline, pause_seconds=0.05):
    """Polls until condition() is true; returns its value, or None past the monotonic deadline."""
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            return None
        time.sleep(pause_seconds)


class Child:
    """One supervised process. `name` is what messages call it."""

    def __init__(self, name, command, log_path, **options):
        self.name = name
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
                                            **options)

    @property
    def pid(self):
        return self.process.pid

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise RoomError(f"{self.name} ended with {code}:\n{tail(self.log_path)}")

    def wait_for(self, condition, what, timeout_seconds):
        """Waits until condition() holds, and fails at once when the process ends before."""
        def holds():
            self.check_alive()
            return condition()
        value = wait_until(holds, time.monotonic() + timeout_seconds)
        if value is None:
            raise RoomError(f"{self.name}: no {what} within {timeout_seconds} s:\n{tail(self.log_path)}")
        return value

    def stop(self, timeout_seconds=10):
        """SIGTERM, then SIGKILL. Returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait()
