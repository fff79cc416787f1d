"""goldlink-target under test: started on ports of its own, with images imported and links to them."""

import uuid

from harness import processes


class Target:
    """One goldlink-target in `folder`."""

    def __init__(self, folder, arguments=(), wrapper=(), portal_host="127.0.0.1"):
        folder.mkdir(exist_ok=True)
        self.port = processes.free_port()
        self.portal = f"{portal_host}:{self.port}"
        self.control = f"unix:{folder / 'c.sock'}"
        self.daemon = processes.Daemon(
            "goldlink-target",
            ["--state-dir", folder / "state", "--control", self.control, "--portal", self.portal, *arguments],
            folder, wrapper=wrapper)
        self.api = processes.Api(self.control)
        self.revision = 0

    def start(self):
        self.daemon.start()
        return self

    def stop(self):
        self.daemon.stop()

    def _expect(self, answer, status):
        if answer.status != status:
            raise AssertionError(f"goldlink-target: {answer}\n{self.daemon.log()[-4000:]}")
        return answer.json if answer.body else None

    def import_image(self, path, image_format="raw", timeout_seconds=300):
        """Imports a file and returns the version's digest."""
        task = str(uuid.uuid4())
        self._expect(self.api.post("/imports", {"id": task, "path": str(path), "format": image_format}), 202)

        def ended():
            state = self._expect(self.api.get(f"/imports/{task}"), 200)
            return state if state["state"] != "running" else None

        done = processes.wait_until(ended, f"{path} is imported", timeout_seconds, step_seconds=0.1)
        if done["state"] != "done":
            raise AssertionError(f"importing {path}: {done['error']}")
        return done["version"]["digest"]

    def link(self, iqn, digest, policy="discard", credentials=()):
        """Makes a link with the version as LUN 0 and waits until it can be logged in to."""
        link = str(uuid.uuid4())
        self.revision += 1
        self._expect(self.api.put(f"/links/{link}", {
            "id": link, "revision": self.revision, "iqn": iqn, "alias": iqn.rsplit(":", 1)[-1],
            "disks": [{"lun": 0, "version": digest, "policy": policy, "quota_bytes": None}],
            "credentials": list(credentials), "allowed_initiators": []}), 200)

        def ready():
            state = self._expect(self.api.get(f"/links/{link}"), 200)
            if state["problem"]:
                raise AssertionError(f"link {iqn}: {state['problem']}")
            return state["ready"]

        processes.wait_until(ready, f"the link {iqn} is ready")
        return link
