"""Versions copied between two running servers by the CLI: only missing chunks travel, a connection that breaks is
taken up again, and what one server has damaged it gets from the other."""

import os
import signal
import unittest

from harness.proxy import CuttingProxy
from harness.up import module_folder, module_up

MIB = 1 << 20
CHUNK = 64 << 10


def setUpModule():
    global folder, head, branch
    folder = module_folder()
    for name in ("head", "branch"):
        (folder / name).mkdir()
    head, branch = module_up(folder / "head"), module_up(folder / "branch")


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
        self.assertLess(proxy.sent_bytes, len(data) + 2 * MIB + 2 * 16 * CHUNK + 200_000)

    def test_a_copy_goes_on_when_the_receiving_target_is_killed(self):
        path, data = self.make("killed.raw", 8 * MIB)
        self.ok(head, "image", "import", "killed", path)
        proxy = self.proxy(at=(6 * MIB, lambda: os.kill(branch.children()["goldlink-target"], signal.SIGKILL)))
        done = self.push(proxy.url, "killed")
        self.assertIsNone(proxy.at, "the target was killed while the version was sent")
        self.assertIn("are sent again", done.err)
        self.assertEqual(self.version(branch, "killed@1")["digest"], self.version(head, "killed@1")["digest"])
        self.ok(branch, "image", "verify", "killed@1")

    def damage(self, server, data, *chunks):
        """Flips a byte of each chunk in the server's packs."""
        for chunk in chunks:
            wanted, found = bytes(data[chunk * CHUNK:(chunk + 1) * CHUNK]), 0
            for pack in (server.state_dir / "target/store/packs").iterdir():
                if (at := pack.read_bytes().find(wanted)) >= 0:
                    found += 1
                    with open(pack, "r+b") as file:
                        file.seek(at + 1000)
                        file.write(bytes([wanted[1000] ^ 1]))
            self.assertEqual(found, 1, f"chunk {chunk} is in a pack")

    def on_both(self, name, size=4 * MIB):
        path, data = self.make(f"{name}.raw", size)
        for server in (head, branch):
            self.ok(server, "image", "import", name, path)
        return data

    def from_head(self, ref, *more):
        return branch.cli("image", "repair", ref, "--from", head.url, "--from-token-file", head.token_path, *more)

    def test_a_damaged_version_is_mended_from_another_server(self):
        data = self.on_both("hurt")
        link = self.ok(branch, "link", "create", "--lease", "10m", "--image", "hurt", "--json").json
        self.damage(branch, data, 0, 7, 40)
        done = self.from_head("hurt")
        self.assertEqual(done.code, 0, done)
        self.assertIn(f"hurt@1: {head.url} had 3 of the 3 missing chunks", done.out)
        self.assertIn("is sound", self.ok(branch, "image", "verify", "hurt").out)
        self.assertEqual(len(self.version(branch, "hurt")["versions"]), 1)
        out = folder / "hurt.out"
        self.ok(branch, "image", "export", "hurt", out)
        self.assertEqual(out.read_bytes(), data)
        done = self.from_head("hurt@1", "--json").json
        self.assertEqual((done["kind"], done["state"], done["result"]),
                         ("repair", "done", {"bad_chunks": 0, "mended_chunks": 0, "manifest_mended": False}))
        self.ok(branch, "link", "rm", link["id"])

    def test_what_the_other_server_has_damaged_too_is_left(self):
        data = self.on_both("both")
        self.damage(branch, data, 3, 4, 5)
        self.damage(head, data, 4)
        done = self.from_head("both")
        self.assertEqual(done.code, 1, done)
        self.assertIn("had 2 of the 3 missing chunks", done.out)
        self.assertIn("both@1 is still damaged in 1 place", done.err)
        self.assertEqual(self.version(branch, "both")["versions"][0]["bad_bytes"], CHUNK)
        self.ok(branch, "image", "repair", "both", "--from", folder / "both.raw")

    def test_a_lost_manifest_comes_from_another_server_and_what_is_bad_beside_it(self):
        data = self.on_both("lost")
        digest = self.version(branch, "lost")["versions"][0]["digest"]
        (branch.state_dir / "target/store/manifests" / digest).unlink()
        self.damage(branch, data, 9)
        done = self.from_head("lost")
        self.assertEqual(done.code, 0, done)
        self.assertIn("the list of lost@1's chunks is made anew", done.out)
        self.assertIn("had 1 of the 1 missing chunk", done.out)
        self.assertIn("is sound", self.ok(branch, "image", "verify", "lost").out)

    def test_a_push_mends_what_the_receiver_found_damaged(self):
        data = self.on_both("pushed")
        self.damage(branch, data, 1, 2)
        self.assertEqual(branch.cli("image", "verify", "pushed").code, 1)
        # The version itself.
        proxy = self.proxy()
        done = self.push(proxy.url, "pushed")
        self.assertIn("pushed@1 is pushed@1 already", done.out)
        self.assertIn("had 2 of the 2 missing chunks", done.out)
        self.assertLess(proxy.sent_bytes, 3 * CHUNK)
        self.assertIn("is sound", self.ok(branch, "image", "verify", "pushed").out)
        # And one that shares a damaged chunk with it.
        self.damage(branch, data, 30)
        self.assertEqual(branch.cli("image", "verify", "pushed").code, 1)
        data[:100] = os.urandom(100)
        (folder / "pushed.raw").write_bytes(data)
        self.ok(head, "image", "import", "pushed", folder / "pushed.raw")
        self.assertIn("2 new chunks", self.push(branch.url, "pushed@2").out)
        for version in (1, 2):
            self.assertIn("is sound", self.ok(branch, "image", "verify", f"pushed@{version}").out)

    def test_a_repair_that_cannot_be_says_why(self):
        path, _ = self.make("alone.raw", MIB)
        self.ok(branch, "image", "import", "alone", path)
        done = self.from_head("alone")
        self.assertEqual(done.code, 1)
        self.assertIn(f"{head.url} has no version with the content of alone@1", done.err)
        done = branch.cli("image", "repair", "alone", "--from", head.url)
        self.assertEqual(done.code, 1)
        self.assertIn("no token", done.err)

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
