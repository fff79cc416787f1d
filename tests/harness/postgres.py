"""A private PostgreSQL for a test: a real server on a unix socket in a folder of its own.

The server refuses to run as root, so as root it runs as the user postgres (of Debian's package).
"""

import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

from harness.processes import wait_until


def _binaries():
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    if folders:
        return pathlib.Path(folders[-1])
    found = shutil.which("postgres")
    if found:
        return pathlib.Path(found).resolve().parent
    raise RuntimeError("PostgreSQL's server is not installed (Debian: apt install postgresql)")


class Postgres:
    """Made by initdb once; start(), stop() and kill() as often as a test likes."""

    def __init__(self):
        self.binaries = _binaries()
        # Short, for the socket's path; open, for whom the server runs as.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-pg-"))
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self.folder, self.user, self.user)
        self.data = self.folder / "data"
        self.log_path = self.folder / "log"
        self.process = None
        self._run("initdb", "--pgdata", self.data, "--username=postgres", "--auth=trust", "--encoding=UTF8",
                  "--locale=C.UTF-8", "--no-sync")

    def _command(self, program, *arguments):
        command = [str(self.binaries / program), *map(str, arguments)]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", *command]
        return command

    def _run(self, program, *arguments):
        done = subprocess.run(self._command(program, *arguments), cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def url(self, database="postgres"):
        return f"host={self.folder} user=postgres dbname={database}"

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self._command("postgres", "-D", self.data, "-k", self.folder, "-c", "listen_addresses=",
                              "-c", "fsync=off", "-c", "max_connections=100"),
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_until(self._answers, "PostgreSQL answers")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended:\n{self.log_path.read_text()[-4000:]}")
        ready = subprocess.run([self.binaries / "pg_isready", "-q", "-h", self.folder, "-U", "postgres"])
        return ready.returncode == 0

    def _signal(self, name):
        # To the server itself: setpriv has become it.
        subprocess.run(self._command("pg_ctl", "kill", name, self.process.pid), check=True, cwd=self.folder,
                       capture_output=True)

    def stop(self):
        """A fast shutdown: connections are ended, data is written."""
        if self.process is not None:
            self._signal("INT")
            self.process.wait(60)
            self.process = None

    def kill(self):
        """An immediate end, as in a crash; the next start recovers."""
        if self.process is not None:
            self._signal("QUIT")
            self.process.wait(60)
            self.process = None

    def _processes(self):
        postmaster = self.process.pid
        found = [postmaster]
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1] == str(postmaster):
                    found.append(int(entry))
        return found

    @contextlib.contextmanager
    def frozen(self):
        """It takes connections, as the kernel does that for it, and answers nothing."""
        stopped = self._processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(stopped):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def no_connection_left(self):
        """Holds connections until the server refuses the next one."""
        hello = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
        with contextlib.ExitStack() as held:
            while True:
                session = held.enter_context(socket.socket(socket.AF_UNIX))
                session.connect(str(self.folder / ".s.PGSQL.5432"))
                session.sendall(struct.pack("!i", len(hello) + 4) + hello)
                if session.recv(1) == b"E":
                    break
            yield

    @contextlib.contextmanager
    def holding(self, statement, database="postgres"):
        """A session that has done this in a transaction and does not end it."""
        session = subprocess.Popen([self.binaries / "psql", "-X", "-q", "-A", "-t", "-d", self.url(database)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            session.stdin.write(f"BEGIN;\n{statement};\nSELECT 'done';\n")
            session.stdin.flush()
            assert session.stdout.readline() == "done\n"
            yield
        finally:
            session.stdin.close()
            session.wait(30)
            session.stdout.close()

    def sql(self, statement, database="postgres"):
        """Runs statements; rows as lists of texts."""
        out = subprocess.run(
            [self.binaries / "psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1",
             "-d", self.url(database), "-c", statement], capture_output=True, text=True)
        if out.returncode != 0:
            raise RuntimeError(out.stderr)
        return [line.split("\t") for line in out.stdout.splitlines()]

    def create_database(self, name):
        self.sql(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def dump(self, database):
        """What pg_dump makes of a database, for restore()."""
        return subprocess.run([self.binaries / "pg_dump", "-Fc", self.url(database)], check=True, capture_output=True).stdout

    def restore(self, database, dump):
        """Puts a database back to what a dump has, at once, under whoever is connected: one that deadlocks with
        somebody's transaction has done nothing, and is made again."""
        for attempt in range(20):
            done = subprocess.run([self.binaries / "pg_restore", "--clean", "--if-exists", "--single-transaction",
                                   "-d", self.url(database)], input=dump, capture_output=True)
            if done.returncode == 0:
                return
            if b"deadlock" not in done.stderr or attempt == 19:
                raise RuntimeError(done.stderr.decode())

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
