"""A private PostgreSQL for a test: a real server on a unix socket in a folder of its own.

The server refuses to run as root, so as root it runs as the user postgres (of Debian's package).
"""

import glob
import os
import pathlib
import pwd
import shutil
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

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
