"""The REST operations that bring image files in and out in pieces, against the manager's fake target."""

import base64
import hashlib
import random
import socket

from harness.processes import wait_until
from manager_case import BASE


class TransferOperations:
    """Tests of operations, one each and named after it; a part of manager_api_test's class."""

    def begin(self, *files, **members):
        listed = [{"name": name, "size_bytes": size} for name, size in files]
        return self.check(self.operator.post(f"/images/{self.name}/uploads", {"files": listed, **members}), 201)

    def piece(self, upload, name, content, offset=0, api=None):
        return (api or self.operator).put(f"/uploads/{upload['id']}/files/{name}?offset={offset}", content)

    def spooled(self, upload, name):
        return bytes(self.target.sets.get(f"import-{upload['id']}", {}).get(name, b""))

    def test_beginUpload(self):
        upload = self.begin(("a b.vhd", 100), ("base.vhd", 50), note="first", channel="test", format="vhd")
        self.assertEqual(upload["subject"], f"{self.name}@1")
        self.assertEqual(upload["files"], [{"name": "a b.vhd", "size_bytes": 100, "received_bytes": 0},
                                           {"name": "base.vhd", "size_bytes": 50, "received_bytes": 0}])
        task = self.check(self.viewer.get(f"/tasks/{upload['id']}"), 200)
        self.assertEqual((task["state"], task["total_bytes"]), ("running", 150))
        path = f"/images/{self.name}/uploads"
        good = {"name": "a", "size_bytes": 1}
        for files in ([], [{"name": "a"}], [{"name": "", "size_bytes": 1}], [{"name": "../a", "size_bytes": 1}],
                      [{"name": ".a", "size_bytes": 1}], [{"name": "a\\b", "size_bytes": 1}],
                      [{"name": "a", "size_bytes": 0}], [good, good], [{**good, "path": "/x"}], ["a"],
                      [{"name": "a", "size_bytes": 1 << 50}, {"name": "b", "size_bytes": 65 << 40}]):
            self.check(self.operator.post(path, {"files": files}), 400, "invalid")
        for wrong in ({"format": "zip"}, {"channel": "No"}, {"note": "x" * 501}, {"sha256": {}}):
            self.check(self.operator.post(path, {"files": [good], **wrong}), 400, "invalid")
        self.refuses_roles("POST", path, {"files": [good]})

    def test_putUploadFile(self):
        content = random.randbytes(5000)
        upload = self.begin(("a b.img", 5000), ("other", 10))
        shown = self.check(self.piece(upload, "a%20b.img", content[:2000]), 200)
        self.assertEqual(shown["files"][0]["received_bytes"], 2000)
        for offset in (0, 1999, 2001):
            problem = self.check(self.piece(upload, "a%20b.img", b"x", offset), 409, "wrong-offset")
            self.assertIn("2000 bytes", problem["detail"])
        self.check(self.piece(upload, "a%20b.img", bytes(3001), 2000), 400, "invalid")
        self.check(self.piece(upload, "a%20b.img", b"x", "x"), 400, "invalid")
        self.check(self.piece(upload, "c", b"x"), 404, "not-found")
        self.check(self.piece(upload, "a%20b.img", content[2000:], 2000), 200)
        self.assertEqual(self.spooled(upload, "a b.img"), content)
        self.assertEqual(self.check(self.viewer.get(f"/tasks/{upload['id']}"), 200)["done_bytes"], 5000)
        self.check(self.piece({"id": "00000000-0000-4000-8000-000000000000"}, "a", b"x"), 404, "not-found")
        self.check(self.operator.delete(f"/tasks/{upload['id']}"), 202)
        self.check(self.piece(upload, "other", b"x" * 10), 409, "upload-ended")
        self.wait_task(upload, "cancelled")
        wait_until(lambda: not self.target.sets, "the target's spool is empty again")
        self.refuses_roles("PUT", f"/uploads/{upload['id']}/files/a?offset=0", b"x")

    def test_getUpload(self):
        content = random.randbytes(300_000)
        upload = self.begin(("disk.img", 300_000))
        host, port = self.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as peer:
            peer.sendall(f"PUT {BASE}/uploads/{upload['id']}/files/disk.img?offset=0 HTTP/1.1\r\nHost: x\r\n"
                         f"Content-Length: 300000\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode()
                         + content[:200_000])
            wait_until(lambda: len(self.spooled(upload, "disk.img")) > 100_000, "most of it has arrived")
        # The connection broke: what came is kept, and the next piece goes on from there.
        path = f"/uploads/{upload['id']}"

        def goes_on():
            there = self.check(self.operator.get(path), 200)["files"][0]["received_bytes"]
            return self.piece(upload, "disk.img", content[there:], there).status == 200
        wait_until(goes_on, "the rest is taken")
        self.assertEqual(self.spooled(upload, "disk.img"), content)
        task = self.check(self.operator.post(path + "/finish"), 202)
        self.wait_task(task)
        self.check(self.operator.get(path), 409, "upload-ended")
        self.check(self.operator.get("/uploads/00000000-0000-4000-8000-000000000000"), 404, "not-found")
        self.refuses_roles("GET", path)

    def test_finishUpload(self):
        content = random.randbytes(4096)
        digest = hashlib.sha256(content).hexdigest()
        upload = self.begin(("a.vhd", 4096), ("b.vhd", 3), channel="test")
        path = f"/uploads/{upload['id']}/finish"
        self.check(self.piece(upload, "a.vhd", content), 200)
        problem = self.check(self.operator.post(path), 409, "upload-incomplete")
        self.assertIn("0 of 3 bytes of b.vhd", problem["detail"])
        self.check(self.piece(upload, "b.vhd", b"abc"), 200)
        for wrong in ({"c": digest}, {"a.vhd": "x" * 64}, {"a.vhd": digest[1:]}, {"a.vhd": 1}, []):
            self.check(self.operator.post(path, {"sha256": wrong}), 400, "invalid")
        task = self.check(self.operator.post(path, {"sha256": {"a.vhd": digest}}), 202)
        self.assertEqual(task["id"], upload["id"])
        self.assertEqual(self.wait_task(task)["result"]["digest"], digest)
        image = self.check(self.viewer.get(f"/images/{self.name}"), 200)
        self.assertEqual(image["channels"], {"production": 1, "test": 1})
        self.check(self.operator.post(path), 409, "upload-ended")
        wait_until(lambda: not self.target.sets, "the target's spool is empty again")
        # What was changed on the way fails the import, with the reason.
        upload = self.begin(("a.vhd", 4096))
        self.check(self.piece(upload, "a.vhd", content), 200)
        self.check(self.operator.post(f"/uploads/{upload['id']}/finish", {"sha256": {"a.vhd": "0" * 64}}), 202)
        self.assertIn("did not arrive", self.wait_task(upload, "failed")["error"])
        self.refuses_roles("POST", path)

    def test_importServerPath(self):
        path = f"/images/{self.name}/imports"
        task = self.check(self.operator.post(path, {"server_path": "/srv/a.vhd", "parents": ["/srv/b.vhd"],
                                                    "note": "there"}), 202)
        self.wait_task(task)
        asked = [body for body in self.target.server_imports if body["id"] == task["id"]]
        self.assertEqual(asked, [{"id": task["id"], "server_path": "/srv/a.vhd", "parents": ["/srv/b.vhd"],
                                  "format": ""}])
        for wrong in ({}, {"server_path": "a"}, {"server_path": "/a", "parents": ["b"]},
                      {"server_path": "/a", "parents": "b"}, {"server_path": "/" + "a" * 5000}, {"path": "/a"}):
            self.check(self.operator.post(path, wrong), 400, "invalid")
        self.refuses_roles("POST", path, {"server_path": "/a"})

    def exported(self, **body):
        self.ready_image()
        task = self.check(self.operator.post(f"/images/{self.name}/versions/1/export", body), 202)
        return self.wait_task(task)

    def test_exportVersion(self):
        task = self.exported(format="vhdx")
        self.assertEqual((task["kind"], task["subject"], task["result"]["format"]), ("export", f"{self.name}@1", "vhdx"))
        path = f"/images/{self.name}/versions/1/export"
        self.check(self.operator.post(path, {"format": "iso"}), 400, "invalid")
        self.check(self.operator.post(f"/images/{self.name}/versions/9/export"), 404, "not-found")
        self.check(self.operator.post("/images/none/versions/1/export"), 404, "not-found")
        self.refuses_roles("POST", path)

    def test_getExport(self):
        task = self.exported()
        path = f"/tasks/{task['id']}/content"
        whole = self.operator.get(path)
        self.assertEqual((whole.status, len(whole.body)), (200, task["result"]["bytes"]))
        self.assertTrue(whole.body.endswith(b" as raw"))
        digest = hashlib.sha256(whole.body)
        self.assertEqual(task["result"]["sha256"], digest.hexdigest())
        self.assertEqual(whole.headers["Repr-Digest"], f"sha-256=:{base64.b64encode(digest.digest()).decode()}:")
        rest = self.operator.get(path + "?offset=10")
        self.assertEqual((rest.body, rest.headers["Repr-Digest"]), (whole.body[10:], whole.headers["Repr-Digest"]))
        self.check(self.operator.get(path + "?offset=x"), 400, "invalid")
        other = self.upload(self.name)
        self.check(self.operator.get(f"/tasks/{other['id']}/content"), 404, "not-found")
        self.target.exports.clear()
        self.check(self.operator.get(path), 404, "export-gone")
        self.refuses_roles("GET", path)

    def test_deleteExport(self):
        task = self.exported()
        path = f"/tasks/{task['id']}/content"
        self.refuses_roles("DELETE", path)
        self.check(self.operator.delete(path), 204)
        self.assertEqual(self.target.exports, {})

    def begin_transfer(self, **members):
        self.digest_wanted = random.randbytes(32).hex()
        return self.check(self.operator.post(f"/images/{self.name}/transfers", {
            "digest": self.digest_wanted, "size_bytes": 1 << 20, **members}), 201)

    def test_beginTransfer(self):
        task = self.begin_transfer(note="from the head office", kind="disk", channel="test")
        self.assertEqual((task["kind"], task["subject"], task["state"]), ("import", f"{self.name}@1", "running"))
        path = f"/images/{self.name}/transfers"
        good = {"digest": "0" * 64, "size_bytes": 1}
        for wrong in ({"digest": "0"}, {"digest": "X" * 64}, {"size_bytes": 0}, {"kind": "tape"}, {"channel": "No"},
                      {"upload": "x"}):
            self.check(self.operator.post(path, {**good, **wrong}), 400, "invalid")
        self.check(self.operator.post(path, {**good, "kind": "iso"}), 409, "other-kind")
        # The digest may be found out only when all was read.
        self.check(self.operator.post(path, {"size_bytes": 512}), 201)
        self.refuses_roles("POST", path, good)

    def test_askMissing(self):
        path = f"/transfers/{self.begin_transfer()['id']}/missing"
        answer = self.operator.post(path, bytes(32 * 5))
        self.assertEqual((answer.status, answer.body), (200, b"\0\1\0\1\0"))
        self.check(self.operator.post("/transfers/00000000-0000-4000-8000-000000000000/missing", bytes(32)), 404)
        self.refuses_roles("POST", path, bytes(32))

    def test_putChunks(self):
        task = self.begin_transfer()
        path = f"/transfers/{task['id']}/chunks"
        frame = random.randbytes(900_000)
        self.assertEqual(self.check(self.operator.put(path, frame), 200), {"bytes": 65536})
        self.assertEqual(self.target.chunks[task["id"]], [frame])
        self.assertEqual(self.check(self.viewer.get(f"/tasks/{task['id']}"), 200)["done_bytes"], 65536)
        plain = random.randbytes(20 * 65536)
        self.assertEqual(self.check(self.operator.put(path + "?encoding=identity", plain), 200), {"bytes": len(plain)})
        self.assertEqual(self.target.chunks[task["id"]][1:], [plain])
        self.check(self.operator.put(path + "?encoding=identity", bytes(129 * 65536)), 413, "body-too-large")
        self.check(self.operator.put(path, b"bad"), 400, "invalid")
        self.check(self.operator.put(path, bytes(2 << 20)), 413, "body-too-large")
        self.check(self.operator.delete(f"/tasks/{task['id']}"), 202)
        self.check(self.operator.put(path, frame), 409, "transfer-ended")
        self.wait_task(task, "cancelled")
        wait_until(lambda: task["id"] not in self.target.chunks, "the target has forgotten it")
        self.refuses_roles("PUT", path, b"x")

    def test_putTransferManifest(self):
        task = self.begin_transfer(channel="test", note="copied")
        path = f"/transfers/{task['id']}/manifest"
        self.check(self.operator.put(path, b"manifest"), 409, "conflict")
        self.check(self.operator.put(f"/transfers/{task['id']}/chunks", b"frame"), 200)
        done = self.check(self.operator.put(path, b"manifest"), 200)
        self.assertEqual((done["state"], done["result"]["digest"]), ("done", self.digest_wanted))
        image = self.check(self.viewer.get(f"/images/{self.name}"), 200)
        self.assertEqual(image["channels"], {"production": 1, "test": 1})
        self.assertEqual((image["versions"][0]["digest"], image["versions"][0]["note"]), (self.digest_wanted, "copied"))
        self.check(self.operator.put(path, b"manifest"), 409, "transfer-ended")
        self.check(self.operator.put(path, b""), 400, "invalid")
        self.refuses_roles("PUT", path, b"x")
        other = self.begin_transfer()
        path = f"/transfers/{other['id']}/manifest"
        self.check(self.operator.put(f"/transfers/{other['id']}/chunks", b"frame"), 200)
        self.check(self.operator.put(f"{path}?digest={'0' * 64}", b"manifest"), 409, "other-digest")
        self.check(self.operator.put(f"{path}?digest={self.digest_wanted}", b"manifest"), 200)
        # Of a transfer that began without, the digest comes with the manifest.
        task = self.check(self.operator.post(f"/images/{self.name}/transfers", {"size_bytes": 512}), 201)
        path = f"/transfers/{task['id']}/manifest"
        self.check(self.operator.put(f"/transfers/{task['id']}/chunks", b"frame"), 200)
        self.check(self.operator.put(path, b"manifest"), 400, "invalid")
        for wrong in ("x" * 64, "0" * 63, "A" * 64):
            self.check(self.operator.put(f"{path}?digest={wrong}", b"manifest"), 400, "invalid")
        digest = random.randbytes(32).hex()
        done = self.check(self.operator.put(f"{path}?digest={digest}", b"manifest"), 200)
        self.assertEqual((done["state"], done["result"]["digest"], done["result"]["version"]), ("done", digest, 3))

    def test_beginRepair(self):
        self.ready_image()
        path = f"/images/{self.name}/versions/1/repair"
        task = self.check(self.operator.post(path), 201)
        self.assertEqual((task["kind"], task["subject"], task["state"]), ("repair", f"{self.name}@1", "running"))
        for frame in (b"one", b"two"):
            self.check(self.operator.put(f"/transfers/{task['id']}/chunks", frame), 200)
        done = self.check(self.operator.put(f"/transfers/{task['id']}/manifest", b"manifest"), 200)
        self.assertEqual((done["state"], done["message"]), ("done", "2 of 3 bad chunks mended"))
        self.assertEqual(done["result"], {"bad_chunks": 3, "mended_chunks": 2, "manifest_mended": False})
        image = self.check(self.viewer.get(f"/images/{self.name}"), 200)
        self.assertEqual([version["number"] for version in image["versions"]], [1], "no version is made")
        # Given up, the version stays what it is.
        other = self.check(self.operator.post(path, {}), 201)
        self.check(self.operator.delete(f"/tasks/{other['id']}"), 202)
        self.wait_task(other, "cancelled")
        self.assertEqual(self.check(self.viewer.get(f"/images/{self.name}"), 200)["versions"][0]["state"], "ready")
        self.check(self.operator.post(path, {"format": "raw"}), 400, "invalid")
        self.check(self.operator.post(f"/images/{self.name}/versions/9/repair"), 404, "not-found")
        self.check(self.operator.post("/images/none/versions/1/repair"), 404, "not-found")
        self.refuses_roles("POST", path)

    def test_getManifest(self):
        self.ready_image()
        path = f"/images/{self.name}/versions/1/manifest"
        digest = self.check(self.viewer.get(f"/images/{self.name}"), 200)["versions"][0]["digest"]
        self.assertEqual(self.operator.get(path).body, b"manifest of " + digest.encode())
        self.check(self.operator.get(f"/images/{self.name}/versions/2/manifest"), 404, "not-found")
        self.refuses_roles("GET", path)

    def test_getChunks(self):
        self.ready_image()
        path = f"/images/{self.name}/versions/1/chunks"
        self.assertEqual(self.operator.post(path, b"d" * 32).body, b"frame of " + b"d" * 32)
        plain = self.operator.post(path + "?encoding=identity", b"d" * 32 + b"e" * 32)
        self.assertEqual(plain.body, b"d" * 65536 + b"e" * 65536)
        for wrong in (b"", b"d" * 31, b"d" * 32 * 129):
            self.check(self.operator.post(path + "?encoding=identity", wrong), 400, "invalid")
        self.check(self.operator.post(path + "?encoding=brotli", b"d" * 32), 400, "invalid")
        self.check(self.operator.post("/images/none/versions/1/chunks", b"d" * 32), 404, "not-found")
        self.refuses_roles("POST", path, b"d" * 32)
