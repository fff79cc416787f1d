"""goldlink-target for a TestCase: a state folder, a control API and a portal of its own."""

import subprocess
import uuid

from harness import processes

SECRET = "secret-of-test-1"  # 16 characters: what every initiator takes


class Target:
    """Starts goldlink-target for a TestCase; calls are its control API."""

    def __init__(self, test, *arguments, state_dir=None, reserve="1MB", **options):
        self.test = test
        self.state_dir = state_dir or test.folder / "target"
        self.socket = test.folder / "target.sock"
        self.port = processes.free_port()
        self.api = processes.Api(f"unix:{self.socket}")
        self.revision = 0
        self.daemon = test.daemon(
            "goldlink-target",
            ["--state-dir", self.state_dir, "--control", f"unix:{self.socket}",
             "--portal", f"127.0.0.1:{self.port}", "--reserve", reserve, *arguments], **options)

    def start(self):
        self.daemon.start()
        return self

    def restart_after_kill(self):
        self.daemon.kill()
        return self.start()

    @property
    def portal(self):
        return f"127.0.0.1:{self.port}"

    # Images

    def task(self, answer):
        """Waits for a task and returns its final report."""
        report = self.test.check(answer, 202)

        def ended():
            now = self.test.check(self.api.get(f"/imports/{report['id']}"), 200)
            return now if now["state"] != "running" else None

        return processes.wait_until(ended, f"task {report['id']} ends", 120)

    def start_import(self, content, name="image.raw", format="raw"):
        """`content`: bytes, or the path of a file; uploads it and starts the import."""
        if isinstance(content, bytes):
            self.test.check(self.api.put(f"/uploads/{name}", content), 200)
        else:
            with open(content, "rb") as file:
                self.test.check(self.api.put(f"/uploads/{name}", file), 200)
        return self.api.post("/imports", {"id": str(uuid.uuid4()), "upload": name, "format": format})

    def import_image(self, content, name="image.raw", format="raw"):
        """Uploads and imports; returns the version's digest."""
        report = self.task(self.start_import(content, name, format))
        self.test.assertEqual(report["state"], "done", report)
        return report["version"]["digest"]

    # Links

    def link_body(self, name, version, policy="discard", credentials=None, initiators=(), **extra):
        self.revision += 1
        return {"revision": self.revision, "iqn": f"iqn.2026-11.io.goldlink:{name}", "alias": name,
                "disks": [{"lun": 0, "version": version, "policy": policy, "quota_bytes": None}],
                "credentials": [{"username": "user", "secret": SECRET}] if credentials is None else credentials,
                "allowed_initiators": list(initiators), **extra}

    def put_link(self, name, version, policy="discard", **options):
        """Creates a link and returns its view; it must be ready."""
        link_id = str(uuid.uuid4())
        view = self.test.check(
            self.api.put(f"/links/{link_id}", self.link_body(name, version, policy, **options)), 200)
        self.test.assertTrue(view["ready"], view)
        return view

    def view(self, link):
        return self.test.check(self.api.get(f"/links/{link['id']}"), 200)

    def boot(self, link, **body):
        return self.test.check(
            self.api.post(f"/links/{link['id']}/boots", {"boot_id": str(uuid.uuid4()), **body}), 200)

    def url(self, link, username="user", secret=SECRET, lun=0):
        who = f"{username}%{secret}@" if username else ""
        return f"iscsi://{who}{self.portal}/{link['iqn']}/{lun}"

    def events(self, after=0, kind=None):
        found = self.test.check(self.api.get(f"/events?after={after}"), 200)["events"]
        return [event for event in found if kind in (None, event["kind"])]

    def wait_event(self, kind, after=0, **members):
        """The first event of a kind whose members (of the event or its data) match."""
        def match():
            for event in self.events(after, kind):
                both = {**event, **event["data"]}
                if all(both.get(name) == value for name, value in members.items()):
                    return event
            return None
        return processes.wait_until(match, f"event {kind} {members}")


def run(*command, check=True, timeout_seconds=120):
    """A tool of the system (qemu-img, iscsi-inq ...); returns the completed process."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=timeout_seconds, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
                             f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done


def qemu_io(url, *commands, check=True):
    arguments = []
    for command in commands:
        arguments += ["-c", command]
    done = run("qemu-io", "-f", "raw", *arguments, url, check=False)
    text = done.stdout + done.stderr
    failed = done.returncode != 0 or "rror" in text or "failed" in text
    if check and failed:
        raise AssertionError(f"qemu-io {commands}: {text}")
    return not failed
