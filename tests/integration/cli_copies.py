"""Versions copied between two running servers by the CLI: only missing chunks travel, and a connection that
breaks is taken up again."""

import os
import pathlib
import shutil
import tempfile
import unittest

from harness.processes import wait_until
from harness.proxy import CuttingProxy
from harness.up import Up

MIB = 1 << 20
CHUNK = 64 << 10


def setUpModule():
    global folder, head, branch
    folder = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-"))
    unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
    servers = []
    for name in ("head", "branch"):
        (folder / name).mkdir()
        server = Up(folder / name)
        unittest.addModuleCleanup(server.stop)
        server.start()
        servers.append(server)
    head, branch = servers
    for server in servers:
        wait_until(server.healthy, "every part works")


class Copies(unittest.TestCase):
    maxDiff = None

    def ok(self, server, *arguments):
        done = server.cli(*arguments)
        self.assertEqual(done.code, 0, f"goldlink {' '.join(map(str, arguments))}: {done}")
        return done

    def version(self, server, ref):
        return self.ok(server, "image", "show", ref, "--json").json

    def proxy(self, **options):
        proxy = CuttingProxy(int(branch.listen.rsplit(":", 1)[1]), **options)
        self.addCleanup(proxy.close)
        return proxy

    def make(self, name, size=24 * MIB):
        path = folder / name
        data = bytearray(os.urandom(size))  # does not compress: what travels is what is counted
        data[510:512] = b"\x55\xaa"
        path.write_bytes(data)
        return path, data

    def push(self, url, ref, *more):
        return self.ok(head, "image", "push", ref, "--to", url, "--to-token-file", branch.token_path, *more)

    def test_only_what_changed_travels(self):
        path, data = self.make("daily.raw")
        self.ok(head, "image", "import", "daily", path, "--version-note", "monday")
        proxy = self.proxy()
        self.push(proxy.url, "daily@1")
        self.assertGreater(proxy.sent_bytes, len(data))
        self.assertEqual(self.version(branch, "daily@1")["digest"], self.version(head, "daily@1")["digest"])
        self.assertEqual(self.version(branch, "daily@1")["note"], "monday")
        # Four of 384 chunks: 1 %.
        for chunk in (3, 100, 200, 383):
            data[chunk * CHUNK:chunk * CHUNK + 100] = os.urandom(100)
        path.write_bytes(data)
        self.ok(head, "image", "import", "daily", path)
        proxy = self.proxy()
        done = self.push(proxy.url, "daily@2", "--channel", "test")
        self.assertIn("daily@2 is ready", done.out)
        self.assertIn("4 new chunks", done.out)
        self.assertEqual(self.version(branch, "daily@2")["digest"], self.version(head, "daily@2")["digest"])
        self.assertEqual(self.version(branch, "daily")["channels"]["test"], 2)
        # The chunks themselves, the questions and the manifest (32 bytes a chunk each), and HTTP's heads.
        self.assertLess(proxy.sent_bytes, 4 * CHUNK + 2 * 384 * 32 + 16_000)
        print(f"1 % changed of {len(data)} bytes: {proxy.sent_bytes} bytes were sent")
        out = folder / "daily.out"
        self.ok(branch, "image", "export", "daily@2", out)
        self.assertEqual(out.read_bytes(), data)
        again = self.proxy()
        self.assertIn("already", self.push(again.url, "daily@2").out)
        self.assertLess(again.sent_bytes, 4_000)

    def test_pull_takes_from_the_other_server(self):
        path, data = self.make("pulled.raw", 4 * MIB)
        self.ok(head, "image", "import", "pulled", path)
        done = self.ok(branch, "image", "pull", "pulled", "--from", head.url, "--from-token-file", head.token_path,
                       "--as", "mirror", "--json").json
        self.assertEqual((done["state"], done["subject"]), ("done", "mirror@1"))
        self.assertGreater(done["sent_bytes"], len(data))
        self.assertEqual(self.version(branch, "mirror@1")["digest"], self.version(head, "pulled@1")["digest"])

    def test_a_copy_goes_on_over_connections_that_break(self):
        path, data = self.make("cut.raw", 8 * MIB)
        self.ok(head, "image", "import", "cut", path)
        proxy = self.proxy(cut_every=2 * MIB, cuts=3)
        self.push(proxy.url, "cut")
        self.assertEqual(proxy.left, 0)
        self.assertEqual(self.version(branch, "cut@1")["digest"], self.version(head, "cut@1")["digest"])
        # What arrived is not sent again: at most a frame of 15 chunks for each cut.
        self.assertLess(proxy.sent_bytes, len(data) + 3 * 16 * CHUNK + 200_000)

    def test_refusals_say_why(self):
        path, _ = self.make("refused.raw", MIB)
        self.ok(head, "image", "import", "refused", path)
        for arguments, text in (
                (("refused", "--to", branch.url), "no token"),
                (("refused@7", "--to", branch.url, "--to-token-file", branch.token_path), "refused@7"),
                (("none", "--to", branch.url, "--to-token-file", branch.token_path), "none"),
                (("refused", "--to", branch.url, "--to-token-file", folder / "none"), "cannot open")):
            done = head.cli("image", "push", *arguments)
            self.assertEqual(done.code, 1, done)
            self.assertIn(text, done.err)
        self.assertEqual(head.cli("image", "push", "refused").code, 2)
        # A manifest whose chunks never came is refused, and the version is not made.
        api = branch.api()
        digest = self.version(head, "refused@1")["digest"]
        task = api.post("/api/v1/images/refused/transfers", {"digest": digest, "size_bytes": MIB}).json
        manifest = head.api().get("/api/v1/images/refused/versions/1/manifest").body
        answer = api.put(f"/api/v1/transfers/{task['id']}/manifest", manifest)
        self.assertEqual(answer.status, 409, answer)
        self.assertIn("16 chunks of the version are missing", answer.json["detail"])
        wrong = api.put(f"/api/v1/transfers/{task['id']}/manifest", manifest[:-1] + b"x")
        self.assertGreaterEqual(wrong.status, 400, wrong)
        for body in (b"", bytes(33), bytes(32 * 5000)):
            self.assertEqual(api.post(f"/api/v1/transfers/{task['id']}/missing", body).status, 400)
        for body in (b"x", bytes(CHUNK)):
            self.assertEqual(api.put(f"/api/v1/transfers/{task['id']}/chunks", body).status, 400)
        self.assertEqual(self.version(branch, "refused")["versions"][0]["state"], "importing")
        self.assertEqual(api.delete(f"/api/v1/tasks/{task['id']}").status, 202)


if __name__ == "__main__":
    unittest.main()
