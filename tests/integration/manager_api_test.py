"""Every operation of the REST contract: what it does, and what it refuses and says then.

A test is named after its operationId; the suite fails when the document has an operation without a
test, or a test that has not seen both an answer and a refusal of its operation.
"""

import concurrent.futures
import json
import pathlib
import random
import socket
import sys
import unittest
import uuid

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.processes import Api, wait_until  # noqa: E402
from manager_case import BASE, EventStream, ManagerCase  # noqa: E402
from manager_gc import GarbageOperations  # noqa: E402
from manager_transfers import TransferOperations  # noqa: E402
from manager_trash import RegistryOperations  # noqa: E402

# These cannot refuse: they need no token and take nothing.
WITHOUT_REFUSAL = {"getHealth", "getOpenapi"}


class EveryOperation(GarbageOperations, RegistryOperations, TransferOperations, ManagerCase):
    manager_options = ("--wake-address", "127.0.0.1:0")  # replaced in setUpClass

    @classmethod
    def setUpClass(cls):
        cls.wake = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        cls.wake.bind(("127.0.0.1", 0))
        cls.wake.settimeout(10)
        cls.addClassCleanup(cls.wake.close)
        cls.manager_options = ("--wake-address", f"127.0.0.1:{cls.wake.getsockname()[1]}")
        super().setUpClass()
        cls.viewer = cls.client_of_role("viewer")
        cls.operator = cls.client_of_role("operator")
        cls.ci = cls.client_of_role("ci")
        cls.stranger = cls.client("gl_nobody")

    def run(self, result=None):
        # The operation under test must have been seen to answer and to refuse.
        name = self._testMethodName.removeprefix("test_")
        method = getattr(self, self._testMethodName)

        def checked():
            self.seen.clear()
            method()
            if name in self.contract.operations:
                self.assertIn((name, "done"), self.seen, "the test saw no success of its operation")
                if name not in WITHOUT_REFUSAL:
                    self.assertIn((name, "refused"), self.seen, "the test saw no refusal of its operation")
        setattr(self, self._testMethodName, checked)
        return super().run(result)

    def ready_image(self, name=None):
        name = name or self.name
        self.upload(name)
        return name

    def refuses_roles(self, method, path, body=None, allowed=("operator",)):
        """401 without a valid token, 403 for roles that may not."""
        self.check(self.client(None).request(method, path, body), 401, "token-missing")
        self.check(self.stranger.request(method, path, body), 401, "token-invalid")
        for role in ("viewer", "ci", "operator"):
            if role not in allowed:
                problem = self.check(getattr(self, role).request(method, path, body), 403, "role-not-allowed")
                self.assertIn(role, problem["detail"])

    def test_every_operation_has_a_test(self):
        tests = {name.removeprefix("test_") for name in dir(self) if name.startswith("test_")}
        self.assertEqual(set(self.contract.operations) - tests, set())

    def test_getHealth(self):
        health = self.check(self.client(None).get("/health"), 200)
        self.assertEqual(health["status"], "ok")
        viewer = self.client_of_role("viewer")
        self.target.stop()
        try:
            health = wait_until(lambda: (answer := viewer.get("/health")).status == 503 and answer.json,
                                "health says that the target is away")
            self.assertEqual((health["status"], health["database"], health["pxe"]), ("degraded", "ok", "ok"))
            self.assertIn("does not answer", health["target"])
            self.assertIn(str(self.folder), health["target"], "who may ask is told where")
            for stranger in (self.client(None), self.client("gl_" + "x" * 40)):
                brief = self.check(stranger.get("/health"), 503)
                self.assertEqual((brief["status"], brief["database"], brief["target"]), ("degraded", "ok", "failing"))
                self.assertEqual([problem["source"] for problem in brief["problems"]], ["manager"])
                self.assertNotIn(str(self.folder), str(brief))
        finally:
            self.target.start()
        wait_until(lambda: self.client(None).get("/health").status == 200, "health is back")

    def test_text_that_is_no_utf8_is_refused_and_quoted_as_text(self):
        for path in ("/images/%ff", "/clients?q=%ff", "/clients?group=%c3"):
            self.check(self.api.get(path), 400, "invalid")
        self.check(self.api.post("/images", {"name": self.name}, headers={"Idempotency-Key": "\xff"}), 400, "invalid")
        unknown = self.api.get("/nothing/%ff%1b")
        self.assertEqual(unknown.status, 404)
        self.assertIn("\ufffd", unknown.json["detail"])

    def test_connections_that_say_nothing_keep_nobody_out(self):
        host, port = self.address.removeprefix("http://").split(":")
        held = []
        self.addCleanup(lambda: [one.close() for one in held])
        for count in range(600):
            held.append(socket.create_connection((host, int(port)), 10))
            if count % 2:
                held[-1].sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nA: ")
        for _ in range(3):
            self.check(self.client(None).get("/health"), 200)
        self.assertEqual(held[0].recv(1), b"", "the oldest went")

    def test_getOpenapi(self):
        document = self.check(self.client(None).get("/openapi.json"), 200)
        self.assertTrue(document["openapi"].startswith("3.1"))

    def test_whoami(self):
        me = self.check(self.ci.get("/whoami"), 200)
        self.assertEqual((me["name"], me["role"]), ("a-ci", "ci"))
        answer = self.client(None).get("/whoami")
        self.check(answer, 401, "token-missing")
        self.assertIn("Bearer", answer.headers["WWW-Authenticate"])
        self.check(Api(self.address, {"Authorization": "Basic YTpi"}).get(f"{BASE}/whoami"), 401, "token-missing")
        self.check(self.stranger.get("/whoami"), 401, "token-invalid")

    def test_getStatus(self):
        self.add_client(self.name)
        status = self.check(self.viewer.get("/status"), 200)
        self.assertEqual(status["portal"], self.target.portal)
        self.assertGreaterEqual(status["clients"], 1)
        self.assertEqual(status["store_free_bytes"], 1 << 40)
        self.refuses_roles("GET", "/status", allowed=("operator", "viewer"))
        self.check(self.api.get("/status?verbose=1"), 400, "invalid")

    def test_listTokens(self):
        listed = self.api.get_all("/tokens")
        self.assertIn("a-viewer", [token["name"] for token in listed])
        self.assertFalse(any("token" in token for token in listed), "secrets are shown once only")
        pages, cursor = [], ""
        while True:
            page = self.check(self.api.get(f"/tokens?limit=2{cursor}"), 200)
            self.assertLessEqual(len(page["items"]), 2)
            pages += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        self.assertEqual(sorted(t["id"] for t in pages), sorted(t["id"] for t in listed))
        self.refuses_roles("GET", "/tokens", allowed=())

    def test_createToken(self):
        made = self.check(self.api.post("/tokens", {"name": self.name, "role": "viewer", "expires_in_seconds": 3600}), 201)
        self.assertIsNotNone(made["expires_at"])
        self.assertEqual(self.client(made["token"]).get("/whoami").json["token_id"], made["id"])
        for body, field in [({"name": self.name}, None), ({"role": "ci"}, "name"), ({"name": "a b", "role": "ci"}, "name"),
                            ({"name": self.name, "role": "root"}, "role"),
                            ({"name": self.name, "role": "ci", "expires_in_seconds": 1}, "expires_in_seconds"),
                            ({"name": self.name, "role": "ci", "extra": 1}, None), ([], None), ("x", None)]:
            problem = self.check(self.api.post("/tokens", body), 400, "invalid")
            if field:
                self.assertEqual(problem["field"], field)
        self.check(self.api.request("POST", "/tokens", b'{"name": "x", '), 400, "invalid")
        self.refuses_roles("POST", "/tokens", {"name": self.name, "role": "admin"}, allowed=())

    def test_deleteToken(self):
        made = self.check(self.api.post("/tokens", {"name": self.name, "role": "viewer"}), 201)
        mine = self.client(made["token"])
        self.check(mine.get("/whoami"), 200)
        self.check(self.api.delete(f"/tokens/{made['id']}"), 204)
        self.check(mine.get("/whoami"), 401, "token-invalid")
        self.check(self.api.delete(f"/tokens/{made['id']}"), 404, "not-found")
        self.check(self.api.delete("/tokens/not-an-id"), 404, "not-found")
        me = self.api.get("/whoami").json["token_id"]
        self.check(self.api.delete(f"/tokens/{me}"), 409, "last-admin-token")
        self.refuses_roles("DELETE", f"/tokens/{me}", allowed=())

    def test_listImages(self):
        for suffix in "abc":
            self.check(self.api.post("/images", {"name": self.name + suffix}), 201)
        self.ready_image(self.name + "b")
        items, cursor = [], ""
        while True:
            page = self.check(self.ci.get(f"/images?limit=1{cursor}"), 200)
            items += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        mine = [image for image in items if image["name"].startswith(self.name)]
        self.assertEqual([image["name"][-1] for image in mine], ["a", "b", "c"])
        self.assertEqual(mine[1]["channels"], {"production": 1})
        self.assertEqual(mine[1]["size_bytes"], 4096)
        for bad in ("limit=0", "limit=1001", "limit=x", "cursor=zz", "cursor=00", "sort=name"):
            self.check(self.api.get(f"/images?{bad}"), 400, "invalid")

    def test_createImage(self):
        made = self.check(self.operator.post("/images", {"name": self.name, "note": "the golden one ♥"}), 201)
        self.assertEqual((made["note"], made["versions"], made["channels"]), ("the golden one ♥", [], {}))
        self.check(self.api.post("/images", {"name": self.name.upper()}), 409, "name-taken")
        for bad in ("", "-x", "a/b", "a b", "ä", "x" * 64, "a\u0000b", None, 7):
            self.check(self.api.post("/images", {"name": bad}), 400, "invalid")
        self.check(self.api.post("/images", {"name": self.name + "1", "note": "x" * 501}), 400, "invalid")
        self.check(self.api.post("/images", {"name": self.name + "1", "note": "ä" * 500}), 201)
        self.refuses_roles("POST", "/images", {"name": self.name})

    def test_getImage(self):
        self.check(self.api.post("/images", {"name": self.name}), 201)
        self.assertEqual(self.check(self.viewer.get(f"/images/{self.name}"), 200)["name"], self.name)
        self.check(self.viewer.get("/images/none"), 404, "not-found")
        self.check(self.viewer.get("/images/" + "x" * 300), 404, "not-found")
        self.check(self.viewer.get("/images/%00"), 400)

    def test_deleteImage(self):
        self.ready_image()
        digest = self.api.get(f"/images/{self.name}").json["versions"][0]["digest"]
        lease = self.add_lease(self.name)
        self.check(self.api.post("/groups", {"name": self.name, "image": self.name}), 201)
        problem = self.check(self.api.delete(f"/images/{self.name}"), 409, "image-in-use")
        self.assertEqual(problem["blocked_by"], [f"group {self.name}", f"lease {lease['id']}"])
        self.check(self.api.delete(f"/links/{lease['id']}"), 204)
        self.check(self.api.delete(f"/groups/{self.name}"), 204)
        self.refuses_roles("DELETE", f"/images/{self.name}")
        self.check(self.operator.delete(f"/images/{self.name}"), 204)
        self.check(self.api.get(f"/images/{self.name}"), 404, "not-found")
        self.check(self.api.delete(f"/images/{self.name}"), 404, "not-found")
        wait_until(lambda: digest not in self.target.versions, "the target drops the data of the image")

    def test_uploadImage(self):
        content = random.randbytes(300_000)
        task = self.check(self.operator.put(f"/images/{self.name}/content?note=first&filename=a.img&format=raw", content), 202)
        self.assertEqual((task["kind"], task["subject"], task["total_bytes"]), ("import", f"{self.name}@1", 300_000))
        done = self.wait_task(task)
        self.assertEqual((done["result"]["image"], done["result"]["version"]), (self.name, 1))
        image = self.api.get(f"/images/{self.name}").json
        self.assertEqual((image["channels"], image["versions"][0]["note"]), ({"production": 1}, "first"))
        self.upload(self.name)
        self.assertEqual(self.api.get(f"/images/{self.name}").json["channels"], {"production": 1, "latest": 2})
        self.upload(self.name, query="?channel=test")
        self.assertEqual(self.api.get(f"/images/{self.name}").json["channels"], {"production": 1, "latest": 3, "test": 3})
        wait_until(lambda: not self.target.uploads, "the target's spool is empty again")
        for bad in ("format=zip", "channel=Prod", "note=" + "x" * 501, "filename=" + "x" * 256, "size=1"):
            self.check(self.api.put(f"/images/{self.name}/content?{bad}", b"x"), 400, "invalid")
        self.check(self.api.put("/images/a%20b/content", b"x"), 400, "invalid")
        self.check(self.api.put(f"/images/{self.name}/content", b""), 400, "invalid")
        self.refuses_roles("PUT", f"/images/{self.name}/content", b"x")

    def test_uploadImage_says_why_the_target_refuses(self):
        self.target.upload_refusal = (507, "no-space", "the image store has 10 MB free")
        try:
            problem = self.check(self.api.put(f"/images/{self.name}/content", b"x" * 1000), 507, "no-space")
            self.assertIn("10 MB", problem["detail"])
        finally:
            self.target.upload_refusal = None
        version = self.api.get(f"/images/{self.name}").json["versions"][0]
        self.assertEqual(version["state"], "failed")
        self.assertIn("10 MB", version["error"])

    def test_uploadImage_keeps_what_a_failed_import_said(self):
        self.target.import_error = "the file is no disk image: bad magic"
        try:
            task = self.upload(self.name, state="failed")
        finally:
            self.target.import_error = None
        self.assertIn("bad magic", task["error"])
        version = self.api.get(f"/images/{self.name}").json["versions"][0]
        self.assertEqual((version["state"], version["error"]), ("failed", task["error"]))
        self.check(self.api.post("/links", {"lease": "1m", "image": f"{self.name}@1"}), 409, "image-not-ready")
        self.check(self.api.put(f"/images/{self.name}/channels/production", {"version": 1}), 409, "version-not-ready")
        self.check(self.api.post(f"/images/{self.name}/versions/1/verify"), 409, "version-not-ready")
        self.upload(self.name)
        self.assertEqual(self.api.get(f"/images/{self.name}").json["channels"], {"production": 2})

    def test_uploadImage_cut_off_leaves_a_failed_version(self):
        host, port = self.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as peer:
            peer.sendall(f"PUT {BASE}/images/{self.name}/content HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
                         f"Authorization: Bearer {self.token}\r\n\r\n".encode() + b"x" * 1000)
            wait_until(lambda: any(path.startswith("/uploads/") for _, path in self.target.calls), "the upload begins")
        def failed():
            answer = self.api.get(f"/images/{self.name}")
            return answer.status == 200 and answer.json["versions"][0]["state"] == "failed" and answer.json
        image = wait_until(failed, "the version is marked failed")
        self.assertIn("cut off", image["versions"][0]["error"])

    def test_uploadImage_without_a_length_is_refused(self):
        host, port = self.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as peer:
            peer.sendall(f"PUT {BASE}/images/{self.name}/content HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                         f"Authorization: Bearer {self.token}\r\n\r\n1\r\nx\r\n0\r\n\r\n".encode())
            answer = peer.recv(4096)
        self.assertIn(b" 411 ", answer.split(b"\r\n")[0])
        self.check(self.api.get(f"/images/{self.name}"), 404, "not-found")

    def test_makeBlankVersion(self):
        path = f"/images/{self.name}/blank"
        task = self.check(self.operator.post(path, {"size_bytes": 40 << 30, "note": "for setup", "channel": "test"}), 202)
        self.assertEqual((task["kind"], task["subject"]), ("import", f"{self.name}@1"))
        self.wait_task(task)
        image = self.check(self.api.get(f"/images/{self.name}"), 200)
        self.assertEqual((image["kind"], image["size_bytes"], image["channels"]),
                         ("disk", 40 << 30, {"production": 1, "test": 1}))
        self.assertEqual(image["versions"][0]["note"], "for setup")
        for bad in ({}, {"size_bytes": 0}, {"size_bytes": "40G"}, {"size_bytes": 4096}, {"size_bytes": (1 << 20) + 512},
                    {"size_bytes": (2 << 40) + 4096}, {"size_bytes": 1 << 20, "channel": "X"}, {"size_bytes": 1 << 20, "format": "raw"}):
            self.check(self.api.post(path, bad), 400, "invalid")
        self.check(self.api.post("/images/a%20b/blank", {"size_bytes": 1 << 20}), 400, "invalid")
        self.assertEqual(len(self.check(self.api.get(f"/images/{self.name}"), 200)["versions"]), 1)
        self.refuses_roles("POST", path, {"size_bytes": 1 << 20})

    def test_listVersions(self):
        self.ready_image()
        self.upload(self.name)
        items = self.check(self.viewer.get(f"/images/{self.name}/versions"), 200)["items"]
        self.assertEqual([version["number"] for version in items], [2, 1])
        self.check(self.viewer.get("/images/none/versions"), 404, "not-found")

    def test_deleteVersion(self):
        self.ready_image()
        self.upload(self.name)
        self.upload(self.name)
        lease = self.add_lease(f"{self.name}@2")
        problem = self.check(self.api.delete(f"/images/{self.name}/versions/2"), 409, "version-in-use")
        self.assertEqual(problem["blocked_by"], [f"lease {lease['id']}"])
        problem = self.check(self.api.delete(f"/images/{self.name}/versions/1"), 409, "version-in-use")
        self.assertEqual(problem["blocked_by"], ["channel production"])
        self.check(self.api.delete(f"/links/{lease['id']}"), 204)
        self.check(self.operator.delete(f"/images/{self.name}/versions/2"), 204)
        for number in (2, 99, 0, "x"):
            self.check(self.api.delete(f"/images/{self.name}/versions/{number}"), 404, "not-found")
        self.upload(self.name)
        self.assertEqual([v["number"] for v in self.api.get(f"/images/{self.name}").json["versions"]], [4, 3, 1])

    def test_verifyVersion(self):
        self.ready_image()
        task = self.check(self.operator.post(f"/images/{self.name}/versions/1/verify"), 202)
        self.assertEqual(self.wait_task(task)["result"], {"findings": []})
        self.target.findings = [{"chunk": "00" * 32}]
        try:
            task = self.check(self.api.post(f"/images/{self.name}/versions/1/verify"), 202)
            self.assertEqual(self.wait_task(task)["result"], {"findings": [{"chunk": "00" * 32}]})
        finally:
            self.target.findings = []
        self.check(self.api.post(f"/images/{self.name}/versions/7/verify"), 404, "not-found")
        self.refuses_roles("POST", f"/images/{self.name}/versions/1/verify")

    def test_prewarmVersion(self):
        self.ready_image()
        path = f"/images/{self.name}/versions/1/prewarm"
        version = lambda: self.check(self.api.get(f"/images/{self.name}"), 200)["versions"][0]
        self.assertIsNone(version()["boot_trace"])
        task = self.wait_task(self.check(self.operator.post(path), 202), "failed")
        self.assertIn("no boot was recorded yet", task["error"])
        self.assertEqual(version()["state"], "ready", "it is the version that the task worked on, not one it was to make")
        self.target.boot_trace = {"bytes": 1 << 20, "recorded_at": "2026-11-21T08:00:00.000Z", "inherited": False,
                                  "prewarmed_at": None, "prewarmed_bytes": 0}
        self.addCleanup(setattr, self.target, "boot_trace", None)
        self.assertEqual(version()["boot_trace"], self.target.boot_trace)
        self.assertEqual(version()["reads"], {"cache_hits": 0, "cache_misses": 0})
        task = self.wait_task(self.check(self.operator.post(path), 202))
        self.assertEqual((task["kind"], task["result"]), ("prewarm", {"prewarmed_bytes": 1 << 20}))
        self.check(self.api.post(f"/images/{self.name}/versions/7/prewarm"), 404, "not-found")
        self.refuses_roles("POST", path)

    def test_pinChannel(self):
        self.ready_image()
        path = f"/images/{self.name}/channels/production/pin"
        image = lambda: self.check(self.api.get(f"/images/{self.name}"), 200)
        digest = image()["versions"][0]["digest"]
        self.assertEqual((image()["pinned_channels"], image()["versions"][0]["pin"]), ([], None))
        self.assertEqual(self.check(self.operator.put(path), 200)["pinned_channels"], ["production"])
        wait_until(lambda: digest in self.target.pins, "the target is told")
        self.assertEqual(image()["versions"][0]["pin"], {"wanted_bytes": 1 << 20, "pinned_bytes": 1 << 16, "problem": None})
        self.ready_image()  # the next version, on the same channel
        newer = image()["versions"][0]["digest"]
        self.check(self.api.put(f"/images/{self.name}/channels/production", {"version": 2}), 200)
        wait_until(lambda: newer in self.target.pins and (newer == digest or digest not in self.target.pins),
                             "the pin follows the channel")
        self.refuses_roles("PUT", path)
        self.check(self.api.put(path, {"bytes": 1}), 400, "invalid")
        self.check(self.api.put(f"/images/{self.name}/channels/none/pin"), 404, "not-found")
        self.check(self.api.put("/images/none/channels/production/pin"), 404, "not-found")

    def test_unpinChannel(self):
        self.ready_image()
        path = f"/images/{self.name}/channels/production/pin"
        digest = self.api.get(f"/images/{self.name}").json["versions"][0]["digest"]
        self.check(self.api.put(path), 200)
        wait_until(lambda: digest in self.target.pins, "the target is told")
        self.target.pins = []  # it was replaced, say
        wait_until(lambda: digest in self.target.pins, "and told again, when it has forgotten")
        self.check(self.operator.delete(path), 204)
        wait_until(lambda: digest not in self.target.pins, "the target is told")
        self.assertEqual(self.api.get(f"/images/{self.name}").json["pinned_channels"], [])
        self.refuses_roles("DELETE", path)
        self.check(self.api.delete(f"/images/{self.name}/channels/none/pin"), 404, "not-found")

    def test_findings_name_images_versions_and_links(self):
        self.ready_image()
        digest = self.api.get(f"/images/{self.name}").json["versions"][0]["digest"]
        client = self.add_client(self.name)
        self.check(self.api.post("/links", {"client": client["name"], "image": self.name}), 201)
        lease = self.add_lease(self.name)
        self.target.findings = [{"chunk_digest": "ab" * 32, "why": "corrupt", "since": 1,
                                 "uses": [{"version": digest, "offset_bytes": 65536},
                                          {"version": "f" * 64, "offset_bytes": 0}]}]
        self.addCleanup(self.target.findings.clear)
        finding = self.wait_task(self.check(self.api.post(f"/images/{self.name}/versions/1/verify"), 202))["result"]["findings"][0]
        self.assertEqual(finding["uses"], [
            {"version": digest, "offset_bytes": 65536, "image": self.name, "number": 1},
            {"version": "f" * 64, "offset_bytes": 0}])
        self.assertEqual(sorted(finding["links"]), sorted([f"link of {client['name']}", f"lease {lease['id']}"]))

    def test_repairVersion(self):
        self.ready_image()
        path = f"/images/{self.name}/versions/1/repair"
        digest = self.api.get(f"/images/{self.name}").json["versions"][0]["digest"]
        self.assertIsNone(self.api.get(f"/images/{self.name}").json["versions"][0]["verified_at"])
        self.target.verified[digest] = "2026-11-21T09:00:00Z"
        self.assertEqual(self.api.get(f"/images/{self.name}").json["versions"][0]["verified_at"], "2026-11-21T09:00:00Z")
        self.target.damage[digest] = (131072, "2 corrupt chunks")
        self.addCleanup(self.target.damage.clear)
        self.target.repair = {"bad_chunks": 2, "mended_chunks": 1, "manifest_mended": False}
        for shown in (self.api.get(f"/images/{self.name}").json["versions"][0],
                      self.api.get(f"/images/{self.name}/versions").json["items"][0]):
            self.assertEqual((shown["damage"], shown["bad_bytes"]), ("2 corrupt chunks", 131072))
        task = self.wait_task(self.check(self.operator.put(path + "?format=raw&filename=a.raw", b"bytes"), 202))
        self.assertEqual((task["kind"], task["subject"], task["state"]), ("repair", f"{self.name}@1", "done"))
        self.assertEqual(task["result"], {"bad_chunks": 2, "mended_chunks": 1, "manifest_mended": False})
        self.assertEqual(task["message"], "1 of 2 bad chunks mended")
        self.assertIsNone(self.api.get(f"/images/{self.name}").json["versions"][0]["damage"])
        self.assertNotIn(f"repair-{task['id']}", self.target.uploads, "the spooled file is dropped")
        self.check(self.api.put(f"/images/{self.name}/versions/9/repair", b"bytes"), 404, "not-found")
        self.check(self.api.put("/images/none/versions/1/repair", b"bytes"), 404, "not-found")
        self.check(self.api.put(path + "?format=dmg", b"bytes"), 400, "invalid")
        self.check(self.api.put(path, b""), 400, "invalid")
        self.refuses_roles("PUT", path, b"bytes")

    def test_setChannel(self):
        self.ready_image()
        self.upload(self.name)
        image = self.check(self.operator.put(f"/images/{self.name}/channels/production", {"version": 2}), 200)
        self.assertEqual(image["channels"]["production"], 2)
        image = self.check(self.api.put(f"/images/{self.name}/channels/production", {"version": 1}), 200)
        self.assertEqual(image["channels"]["production"], 1)
        self.check(self.api.put(f"/images/{self.name}/channels/test", {"version": 9}), 404, "not-found")
        self.check(self.api.put("/images/none/channels/test", {"version": 1}), 404, "not-found")
        self.check(self.api.put(f"/images/{self.name}/channels/Test", {"version": 1}), 400, "invalid")
        for bad in ({}, {"version": 0}, {"version": "1"}, {"version": 1, "x": 1}):
            self.check(self.api.put(f"/images/{self.name}/channels/test", bad), 400, "invalid")
        self.refuses_roles("PUT", f"/images/{self.name}/channels/test", {"version": 1})

    def test_setChannel_takes_discard_links_along_and_leaves_kept_ones(self):
        self.ready_image()
        follower = self.add_lease(self.name)
        pinned = self.add_lease(f"{self.name}@1")
        kept = self.add_lease(self.name, policy="keep")
        self.upload(self.name)
        self.check(self.api.put(f"/images/{self.name}/channels/production", {"version": 2}), 200)
        digest = self.api.get(f"/images/{self.name}").json["versions"][0]["digest"]
        wait_until(lambda: self.target.links[follower["id"]]["disks"][0]["version"] == digest,
                   "the target serves the new version to the link that follows")
        versions = {link["id"]: link["version"] for link in self.api.get_all(f"/links?image={self.name}")}
        self.assertEqual(versions, {follower["id"]: 2, pinned["id"]: 1, kept["id"]: 1})
        self.check(self.api.post(f"/links/{kept['id']}/reset"), 200)
        wait_until(lambda: self.target.links[kept["id"]]["disks"][0]["version"] == digest,
                   "a reset kept link follows its channel again")

    def test_deleteChannel(self):
        self.ready_image()
        lease = self.add_lease(self.name)
        problem = self.check(self.api.delete(f"/images/{self.name}/channels/production"), 409, "channel-in-use")
        self.assertEqual(problem["blocked_by"], [f"lease {lease['id']}"])
        self.check(self.api.put(f"/images/{self.name}/channels/test", {"version": 1}), 200)
        self.check(self.operator.delete(f"/images/{self.name}/channels/test"), 204)
        self.check(self.api.delete(f"/images/{self.name}/channels/test"), 404, "not-found")

    def test_listGroups(self):
        self.check(self.api.post("/groups", {"name": self.name}), 201)
        self.add_client(self.name, group=self.name)
        group = next(g for g in self.viewer.get_all("/groups") if g["name"] == self.name)
        self.assertEqual(group["client_count"], 1)
        self.check(self.ci.get("/groups"), 403, "role-not-allowed")

    def test_createGroup(self):
        self.ready_image()
        made = self.check(self.operator.post("/groups", {"name": self.name, "image": self.name, "policy": "keep",
                                                         "naming_pattern": "R1-{n:02}"}), 201)
        self.assertEqual((made["image"], made["policy"], made["naming_pattern"]),
                         (f"{self.name}:production", "keep", "R1-{n:02}"))
        self.check(self.api.post("/groups", {"name": self.name}), 409, "name-taken")
        for bad in ({"name": "x y"}, {"name": "ok1", "policy": "mirror"}, {"name": "ok1", "naming_pattern": "PC"},
                    {"name": "ok1", "naming_pattern": "PC-{n:99}"}, {"name": "ok1", "image": "a b"}, {"name": "ok1", "x": 1}):
            self.check(self.api.post("/groups", bad), 400, "invalid")
        self.check(self.api.post("/groups", {"name": "ok1", "image": "none"}), 409, "image-not-ready")
        self.check(self.api.post("/groups", {"name": "ok1", "image": f"{self.name}@7"}), 409, "image-not-ready")
        self.refuses_roles("POST", "/groups", {"name": self.name})

    def test_getGroup(self):
        self.check(self.api.post("/groups", {"name": self.name}), 201)
        self.check(self.viewer.get(f"/groups/{self.name}"), 200)
        self.check(self.viewer.get("/groups/none"), 404, "not-found")

    def test_updateGroup(self):
        self.ready_image()
        self.check(self.api.post("/groups", {"name": self.name}), 201)
        group = self.check(self.operator.patch(f"/groups/{self.name}", {"image": f"{self.name}@1", "policy": "keep"}), 200)
        self.assertEqual((group["image"], group["policy"]), (f"{self.name}@1", "keep"))
        group = self.check(self.api.patch(f"/groups/{self.name}", {"naming_pattern": "X{n}"}), 200)
        self.assertEqual((group["image"], group["naming_pattern"]), (f"{self.name}@1", "X{n}"))
        group = self.check(self.api.patch(f"/groups/{self.name}", {"image": None}), 200)
        self.assertIsNone(group["image"])
        etag = self.api.get(f"/groups/{self.name}").headers["ETag"]
        self.check(self.api.patch(f"/groups/{self.name}", {"policy": "discard"}, headers={"If-Match": etag}), 200)
        self.check(self.api.patch(f"/groups/{self.name}", {"policy": "keep"}, headers={"If-Match": etag}), 412, "changed-meanwhile")
        self.check(self.api.patch(f"/groups/{self.name}", {"name": "other"}), 400, "invalid")
        self.check(self.api.patch("/groups/none", {}), 404, "not-found")
        self.refuses_roles("PATCH", f"/groups/{self.name}", {})

    def test_deleteGroup(self):
        self.check(self.api.post("/groups", {"name": self.name}), 201)
        self.add_client(self.name, group=self.name)
        problem = self.check(self.api.delete(f"/groups/{self.name}"), 409, "group-in-use")
        self.assertEqual(problem["blocked_by"], [self.name])
        self.check(self.api.patch(f"/clients/{self.name}", {"group": None}), 200)
        self.check(self.operator.delete(f"/groups/{self.name}"), 204)
        self.check(self.api.delete(f"/groups/{self.name}"), 404, "not-found")

    def test_listClients(self):
        self.check(self.api.post("/groups", {"name": self.name}), 201)
        first = self.add_client(self.name + "a", group=self.name)
        self.add_client(self.name + "b")
        self.assertEqual([c["name"] for c in self.viewer.get_all(f"/clients?group={self.name}")], [self.name + "a"])
        mac = first["macs"][0].replace(":", "-").upper()
        self.assertEqual([c["name"] for c in self.api.get_all(f"/clients?mac={mac}")], [self.name + "a"])
        self.assertNotIn(self.name + "a", [c["name"] for c in self.api.get_all("/clients?state=pending")])
        page = self.check(self.api.get("/clients?limit=1"), 200)
        self.assertEqual(len(page["items"]), 1)
        following = self.check(self.api.get(f"/clients?limit=1&cursor={page['next_cursor']}"), 200)
        self.assertGreater(following["items"][0]["name"].lower(), page["items"][0]["name"].lower())
        self.check(self.api.get("/clients?mac=xyz"), 400, "invalid")
        self.check(self.api.get("/clients?state=gone"), 400, "invalid")

    def test_createClient(self):
        made = self.check(self.operator.post("/clients", {"name": self.name, "macs": ["52-54-00-AB-CD-01", "525400abcd02"],
                                                          "note": "by the window"}), 201)
        self.assertEqual(made["macs"], ["52:54:00:ab:cd:01", "52:54:00:ab:cd:02"])
        problem = self.check(self.api.post("/clients", {"name": self.name + "2", "macs": ["5254.00ab.cd02"]}), 409, "mac-in-use")
        self.assertIn(self.name, problem["detail"])
        self.assertEqual(problem["blocked_by"], [f"client {self.name}"])
        self.check(self.api.get(f"/clients/{self.name}2"), 404, "not-found")
        self.check(self.api.post("/clients", {"name": self.name.upper(), "macs": [self.random_mac()]}), 409, "name-taken")
        self.check(self.api.post("/clients", {"name": "x1", "macs": [self.random_mac()], "group": "none"}), 409, "no-such-group")
        mac = self.random_mac()
        for bad in ({"name": "x1"}, {"name": "x1", "macs": []}, {"name": "x1", "macs": ["zz"]}, {"name": "x1", "macs": [mac, mac]},
                    {"name": "x1", "macs": ["ff:ff:ff:ff:ff:ff"]}, {"name": "x1", "macs": [7]}, {"name": "x1", "macs": mac},
                    {"name": "x1", "macs": [mac] * 9}, {"name": "-", "macs": [mac]}, {"name": "x1", "macs": [mac], "state": "pending"}):
            self.check(self.api.post("/clients", bad), 400, "invalid")
        self.refuses_roles("POST", "/clients", {"name": self.name, "macs": [mac]})

    def test_createClient_in_a_group_with_an_image_gets_its_link(self):
        self.ready_image()
        self.check(self.api.post("/groups", {"name": self.name, "image": self.name, "policy": "keep"}), 201)
        made = self.add_client(self.name, group=self.name)
        self.assertEqual((made["image"], made["policy"]), (f"{self.name}:production", "keep"))
        wait_until(lambda: made["link_id"] in self.target.links, "the target serves the link")
        wait_until(lambda: any(c["link_id"] == made["link_id"] for c in self.pxe.table["clients"]), "pxe boots it")

    def test_createClient_twice_at_once_is_one(self):
        mac = self.random_mac()
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda i: self.api.post("/clients", {"name": f"{self.name}-{i}", "macs": [mac]}), range(8)))
        self.assertEqual(sorted(answer.status for answer in answers), [201] + [409] * 7, answers)
        self.assertEqual(len(self.api.get_all(f"/clients?mac={mac}")), 1)

    def test_importClients(self):
        self.check(self.api.post("/groups", {"name": self.name}), 201)
        csv = {"headers": {"Content-Type": "text/csv"}}
        macs = [self.random_mac() for _ in range(3)]
        good = f"Name,MAC,Group\r\n{self.name}-1,{macs[0]} {macs[1]},{self.name}\r\n\"{self.name}-2\",{macs[2]},\r\n".encode()
        dry = self.check(self.api.request("POST", "/clients/import?dry_run=true", good, **csv), 200)
        self.assertEqual((dry["added"], dry["errors"], dry["dry_run"]), ([f"{self.name}-1", f"{self.name}-2"], [], True))
        self.check(self.api.get(f"/clients/{self.name}-1"), 404, "not-found")
        done = self.check(self.operator.request("POST", "/clients/import", good, **csv), 200)
        self.assertEqual((done["added"], done["dry_run"]), ([f"{self.name}-1", f"{self.name}-2"], False))
        self.assertEqual(self.api.get(f"/clients/{self.name}-1").json["macs"], macs[:2])
        mixed = f"name,mac,group\n{self.name}-3,{self.random_mac()},\n{self.name}-4,{macs[0]},\nx y,{self.random_mac()},\n" \
                f"{self.name}-5,nomac,\n{self.name}-6,{self.random_mac()},none\n".encode()
        result = self.check(self.api.request("POST", "/clients/import", mixed, **csv), 200)
        self.assertEqual((result["added"], [error["line"] for error in result["errors"]]), ([], [3, 4, 5, 6]))
        self.assertIn(self.name + "-1", result["errors"][0]["message"])
        self.check(self.api.get(f"/clients/{self.name}-3"), 404, "not-found")
        for bad in (b"", b"name,ip\n", b"mac\n", b'name,mac\n"x,y\n', b"name,mac,group,note\n"):
            self.check(self.api.request("POST", "/clients/import", bad, **csv), 400, "invalid")
        self.check(self.api.request("POST", "/clients/import?dry_run=maybe", good, **csv), 400, "invalid")
        self.check(self.api.request("POST", "/clients/import", b"x" * (1 << 20) + b"x", **csv), 413)
        self.refuses_roles("POST", "/clients/import", good)

    def test_getClient(self):
        self.add_client(self.name)
        client = self.check(self.viewer.get(f"/clients/{self.name}"), 200)
        self.assertEqual((client["state"], client["last_boot"], client["link_id"]), ("approved", None, None))
        self.check(self.viewer.get("/clients/none"), 404, "not-found")
        self.check(self.ci.get(f"/clients/{self.name}"), 403, "role-not-allowed")

    def test_updateClient(self):
        client = self.add_client(self.name)
        other = self.add_client(self.name + "2")
        mac = self.random_mac()
        changed = self.check(self.operator.patch(f"/clients/{self.name}", {"name": self.name + "x", "macs": [mac], "note": "n"}), 200)
        self.assertEqual((changed["id"], changed["name"], changed["macs"], changed["note"]),
                         (client["id"], self.name + "x", [mac], "n"))
        path = f"/clients/{self.name}x"
        self.assertEqual(self.check(self.api.patch(path, {}), 200)["note"], "n")
        self.check(self.api.patch(path, {"macs": [mac, self.random_mac()]}), 200)
        self.check(self.api.patch(path, {"macs": other["macs"]}), 409, "mac-in-use")
        self.check(self.api.patch(path, {"name": self.name + "2"}), 409, "name-taken")
        self.check(self.api.patch(path, {"group": "none"}), 409, "no-such-group")
        self.check(self.api.patch(path, {"macs": []}), 400, "invalid")
        self.check(self.api.patch(path, {"link_id": None}), 400, "invalid")
        self.check(self.api.patch("/clients/none", {}), 404, "not-found")
        etag = self.api.get(path).headers["ETag"]
        self.check(self.api.patch(path, {"note": "a"}, headers={"If-Match": etag}), 200)
        self.check(self.api.patch(path, {"note": "b"}, headers={"If-Match": etag}), 412, "changed-meanwhile")
        self.refuses_roles("PATCH", path, {})

    def test_deleteClient(self):
        self.ready_image()
        self.add_client(self.name)
        link = self.check(self.api.post("/links", {"client": self.name, "image": self.name}), 201)
        problem = self.check(self.api.delete(f"/clients/{self.name}"), 409, "client-has-link")
        self.assertEqual(problem["blocked_by"], [f"link {link['id']}"])
        self.check(self.api.delete(f"/links/{link['id']}"), 204)
        self.check(self.operator.delete(f"/clients/{self.name}"), 204)
        self.check(self.api.delete(f"/clients/{self.name}"), 404, "not-found")

    def pending_client(self):
        mac = self.random_mac()
        self.pxe.add_event("client_unknown", mac=mac, client_id=None, boot_id=str(uuid.uuid4()),
                           data={"arch": "uefi-x64", "address": "10.0.0.9"})
        return wait_until(lambda: self.api.get_all(f"/clients?mac={mac}"), "the unknown machine is registered")[0]

    def test_approveClient(self):
        pending = self.pending_client()
        self.assertEqual(pending["state"], "pending")
        self.assertRegex(pending["name"], r"^PC-\d{3}$")
        self.ready_image()
        self.check(self.api.post("/links", {"client": pending["name"], "image": self.name}), 409, "client-pending")
        self.assertFalse(any(c["id"] == pending["id"] for c in self.pxe.table["clients"]), "pxe knows approved clients only")
        approved = self.check(self.operator.post(f"/clients/{pending['name']}/approve"), 200)
        self.assertEqual(approved["state"], "approved")
        self.check(self.api.post(f"/clients/{pending['name']}/approve"), 200)
        wait_until(lambda: any(c["id"] == pending["id"] for c in self.pxe.table["clients"]), "pxe knows the client")
        self.check(self.api.post("/clients/none/approve"), 404, "not-found")
        self.refuses_roles("POST", f"/clients/{pending['name']}/approve")

    def test_wakeClient(self):
        client = self.add_client(self.name)
        woken = self.check(self.operator.post(f"/clients/{self.name}/wake"), 202)
        self.assertEqual(woken["macs"], client["macs"])
        packet = self.wake.recv(1024)
        self.assertEqual(packet, b"\xff" * 6 + bytes.fromhex(client["macs"][0].replace(":", "")) * 16)
        self.check(self.api.post("/clients/none/wake"), 404, "not-found")
        self.refuses_roles("POST", f"/clients/{self.name}/wake")

    def test_listBoots(self):
        client = self.add_client(self.name)
        boots = [str(uuid.uuid4()) for _ in range(3)]
        for boot in boots:
            self.pxe.add_event("dhcp_discover", mac=client["macs"][0], client_id=client["id"], boot_id=boot,
                               data={"arch": "bios", "stage": "firmware"})
        found = wait_until(lambda: len(items := self.viewer.get_all(f"/clients/{self.name}/boots")) == 3 and items, "three boots")
        self.assertEqual({boot["id"] for boot in found}, set(boots))
        first = self.check(self.api.get(f"/clients/{self.name}/boots?limit=2"), 200)
        second = self.check(self.api.get(f"/clients/{self.name}/boots?limit=2&cursor={first['next_cursor']}"), 200)
        self.assertEqual([b["id"] for b in first["items"] + second["items"]], [b["id"] for b in found])
        self.check(self.api.get("/clients/none/boots"), 404, "not-found")
        self.check(self.api.get(f"/clients/{self.name}/boots?cursor=616263"), 400, "invalid")

    def test_listLinks(self):
        self.ready_image()
        self.add_client(self.name)
        link = self.check(self.api.post("/links", {"client": self.name, "image": self.name}), 201)
        lease = self.add_lease(self.name)
        self.target.links[lease["id"]]["sessions"] = [{"initiator_name": "iqn.2026-11.test:a", "address": "10.0.0.7:5",
                                                      "since": "2026-11-21T09:00:00.000Z", "isid": "400027230001"}]
        items = self.api.get_all(f"/links?image={self.name}")
        self.assertEqual({item["id"] for item in items}, {link["id"], lease["id"]})
        shown = next(item for item in items if item["id"] == lease["id"])
        self.assertEqual((shown["sessions"][0]["address"], shown["generation"]), ("10.0.0.7:5", 1))
        self.assertEqual([item["id"] for item in self.api.get_all(f"/links?client={self.name}")], [link["id"]])
        seen = self.viewer.get_all(f"/links?client={self.name}")[0]
        self.assertEqual((seen["username"], seen["secret"], seen["url"]), (None, None, None), "viewers see no secrets")
        self.assertEqual(self.ci.get_all(f"/links?image={self.name}"), [], "a ci token sees its own leases only")
        self.check(self.api.get("/links?limit=0"), 400, "invalid")

    def test_createLink(self):
        self.ready_image()
        self.add_client(self.name)
        link = self.check(self.operator.post("/links", {"client": self.name, "image": f"{self.name}:production"}), 201)
        self.assertEqual((link["state"], link["channel"], link["version"]), ("ready", "production", 1))
        self.assertEqual(link["iqn"], f"iqn.2026-11.io.goldlink:{self.name}")
        self.assertEqual(link["url"], f"iscsi://{link['username']}%{link['secret']}@{self.target.portal}/{link['iqn']}/0")
        self.assertTrue(12 <= len(link["secret"]) <= 16)
        held = self.target.links[link["id"]]
        self.assertEqual(held["credentials"][0]["secret"], link["secret"])
        problem = self.check(self.api.post("/links", {"client": self.name, "image": self.name}), 409, "client-has-link")
        self.assertEqual(problem["blocked_by"], [f"link {link['id']}"])
        lease = self.check(self.ci.post("/links", {"lease": "90s", "image": f"{self.name}@1", "policy": "keep"}), 201)
        self.assertEqual((lease["client"], lease["channel"], lease["policy"]), (None, None, "keep"))
        self.check(self.ci.post("/links", {"client": self.name, "image": self.name}), 403, "role-not-allowed")
        self.check(self.api.post("/links", {"client": "none", "image": self.name}), 404, "not-found")
        for bad in ({"image": self.name}, {"image": self.name, "client": self.name, "lease": "1m"}, {"lease": "1m"},
                    {"lease": "1", "image": self.name}, {"lease": "0m", "image": self.name}, {"lease": "999999d", "image": self.name},
                    {"lease": "1m", "image": "a@x"}, {"lease": "1m", "image": "a@0"}, {"lease": "1m", "image": "a:B"},
                    {"lease": "1m", "image": self.name, "policy": "none"}, {"lease": "1m", "image": self.name, "ttl": 1}):
            self.check(self.api.post("/links", bad), 400, "invalid")
        for absent in ("none", f"{self.name}:nightly", f"{self.name}@9"):
            self.check(self.api.post("/links", {"lease": "1m", "image": absent}), 409, "image-not-ready")
        self.refuses_roles("POST", "/links", {"lease": "1m", "image": self.name}, allowed=("operator", "ci"))

    def test_createLink_that_the_target_refuses_says_why(self):
        self.ready_image()
        self.target.link_refusal = (507, "no-space", "the overlay disk is full")
        try:
            link = self.check(self.api.post("/links", {"lease": "1m", "image": self.name}), 202)
        finally:
            self.target.link_refusal = None
        self.assertEqual((link["state"], link["problem"]), ("failed", "the overlay disk is full"))
        wait_until(lambda: self.api.get(f"/links/{link['id']}").json["state"] == "ready", "it is tried again")

    def test_createLink_is_repeated_safely_with_an_idempotency_key(self):
        self.ready_image()
        key = {"Idempotency-Key": str(uuid.uuid4())}
        body = {"lease": "1m", "image": self.name}
        first = self.check(self.api.post("/links", body, headers=key), 201)
        again = self.check(self.api.post("/links", body, headers=key), 201)
        self.assertEqual(again, first)
        self.assertEqual(len(self.api.get_all(f"/links?image={self.name}")), 1)
        self.check(self.api.post("/links", {"lease": "2m", "image": self.name}, headers=key), 422, "idempotency-key-reused")
        failing = {"Idempotency-Key": str(uuid.uuid4())}
        self.check(self.api.post("/links", {"lease": "1m", "image": self.name + "new"}, headers=failing), 409, "image-not-ready")
        self.upload(self.name + "new")
        self.check(self.api.post("/links", {"lease": "1m", "image": self.name + "new"}, headers=failing), 201)
        self.check(self.api.post("/links", body, headers={"Idempotency-Key": "x" * 129}), 400, "invalid")

    def test_getLink(self):
        self.ready_image()
        lease = self.add_lease(self.name, api=self.ci)
        self.assertEqual(self.check(self.ci.get(f"/links/{lease['id']}"), 200)["url"], lease["url"])
        others = self.add_lease(self.name)
        self.check(self.ci.get(f"/links/{others['id']}"), 404, "not-found")
        self.check(self.viewer.get(f"/links/{uuid.uuid4()}"), 404, "not-found")
        self.check(self.viewer.get("/links/nothing"), 404, "not-found")

    def test_updateLink(self):
        disc = f"{self.name}-disc"
        self.upload(disc, query="?format=iso")
        self.ready_image()
        self.add_client(self.name)
        link = self.check(self.api.post("/links", {"client": self.name, "image": self.name, "policy": "keep", "install": True,
                                                  "disks": [{"lun": 3, "image": disc}]}), 201)
        self.assertTrue(link["install"])

        def install_lun():
            return next(client.get("install_lun") for client in self.pxe.table["clients"] if client["name"] == self.name)
        wait_until(lambda: any(client["name"] == self.name for client in self.pxe.table["clients"]), "pxe has the client")
        wait_until(lambda: install_lun() == 3, "pxe starts the disc")
        path = f"/links/{link['id']}"
        self.assertFalse(self.check(self.operator.patch(path, {"install": False}), 200)["install"])
        wait_until(lambda: install_lun() is None, "pxe starts the disk")
        self.assertTrue(self.check(self.api.patch(path, {"install": True}), 200)["install"])
        wait_until(lambda: install_lun() == 3, "pxe starts the disc again")
        for bad in ({}, {"install": 1}, {"install": None}, {"policy": "keep"}):
            self.check(self.api.patch(path, bad), 400, "invalid")
        lease = self.add_lease(self.name, disks=[{"lun": 1, "image": disc}])
        self.check(self.api.patch(f"/links/{lease['id']}", {"install": True}), 400, "invalid")
        # A quota goes to the target at once.
        held = lambda lun: next(disk["quota_bytes"] for disk in self.target.links[link["id"]]["disks"] if disk["lun"] == lun)  # noqa: E731
        self.assertEqual(self.check(self.operator.patch(path, {"quota_bytes": 1 << 30}), 200)["disks"][0]["quota_bytes"], 1 << 30)
        wait_until(lambda: held(0) == 1 << 30, "the target has the quota")
        changed = self.check(self.api.patch(path, {"quota_bytes": None, "lun": 0, "install": False}), 200)
        self.assertEqual((changed["disks"][0]["quota_bytes"], changed["install"]), (None, False))
        wait_until(lambda: held(0) is None, "the target has no quota")
        for bad, field in (({"quota_bytes": 0}, "quota_bytes"), ({"quota_bytes": "1G"}, "quota_bytes"), ({"lun": 0}, "install"),
                           ({"lun": 3, "quota_bytes": 4096}, "lun"), ({"install": True, "lun": 0}, "lun")):
            self.assertEqual(self.check(self.api.patch(path, bad), 400, "invalid")["field"], field, bad)
        self.check(self.api.patch(path, {"lun": 9, "quota_bytes": 4096}), 404, "no-such-lun")
        made = self.add_lease(self.name, quota_bytes=8192)
        self.assertEqual(made["disks"][0]["quota_bytes"], 8192)
        self.check(self.api.post("/links", {"lease": "1m", "image": disc, "quota_bytes": 8192}), 400, "invalid")
        self.check(self.api.patch(f"/links/{uuid.uuid4()}", {"install": True}), 404, "not-found")
        self.refuses_roles("PATCH", path, {"install": False})

    def test_deleteLink(self):
        self.ready_image()
        lease = self.add_lease(self.name)
        self.check(self.ci.delete(f"/links/{lease['id']}"), 404, "not-found")
        self.refuses_roles("DELETE", f"/links/{lease['id']}", allowed=("operator", "ci"))
        self.check(self.operator.delete(f"/links/{lease['id']}"), 204)
        self.assertNotIn(lease["id"], self.target.links)
        self.check(self.api.delete(f"/links/{lease['id']}"), 404, "not-found")
        mine = self.add_lease(self.name, api=self.ci)
        self.check(self.ci.delete(f"/links/{mine['id']}"), 204)

    def test_resetLink(self):
        self.ready_image()
        lease = self.add_lease(self.name)
        self.check(self.operator.post(f"/links/{lease['id']}/reset"), 200)
        self.assertEqual(self.target.links[lease["id"]]["resets"], 1)
        self.target.links[lease["id"]]["sessions"] = [{"initiator_name": "i", "address": "a", "since": "2026-11-21T09:00:00Z", "isid": "400027230001"}]
        self.check(self.api.post(f"/links/{lease['id']}/reset", {"force": False}), 409, "link-in-use")
        self.check(self.api.post(f"/links/{lease['id']}/reset", {"force": True}), 200)
        self.check(self.api.post(f"/links/{lease['id']}/reset", {"force": "yes"}), 400, "invalid")
        self.check(self.api.post(f"/links/{uuid.uuid4()}/reset"), 404, "not-found")
        self.refuses_roles("POST", f"/links/{lease['id']}/reset", allowed=("operator", "ci"))

    def test_commitLink(self):
        self.ready_image()
        lease = self.add_lease(self.name, policy="super")
        task = self.check(self.operator.post(f"/links/{lease['id']}/commit", {"note": "with drivers", "channel": "test"}), 202)
        self.assertEqual((task["kind"], task["subject"]), ("commit", f"{self.name}@2"))
        self.wait_task(task)
        image = self.api.get(f"/images/{self.name}").json
        self.assertEqual((image["channels"], image["versions"][0]["note"]),
                         ({"production": 1, "latest": 2, "test": 2}, "with drivers"))
        plain = self.add_lease(self.name)
        self.check(self.api.post(f"/links/{plain['id']}/commit"), 409, "not-super")
        self.check(self.api.post(f"/links/{lease['id']}/commit", {"channel": "X"}), 400, "invalid")
        self.check(self.api.post(f"/links/{uuid.uuid4()}/commit"), 404, "not-found")
        self.refuses_roles("POST", f"/links/{lease['id']}/commit")

    def test_a_second_commit_of_the_same_version_is_a_conflict(self):
        self.ready_image()
        one, other = (self.add_lease(self.name, policy="super") for _ in range(2))
        own = self.wait_task(self.check(self.api.post(f"/links/{other['id']}/save"), 202))
        self.assertEqual(own["subject"], f"{self.name}@2")
        # What the link itself was saved as is no conflict of its own commit, but of another link's.
        refused = self.check(self.api.post(f"/links/{one['id']}/commit"), 409, "version-conflict")
        self.assertEqual(refused["blocked_by"], [f"{self.name}@2 of lease {other['id']}"])
        self.wait_task(self.check(self.api.post(f"/links/{other['id']}/commit", {"note": "drivers"}), 202))
        refused = self.check(self.api.post(f"/links/{one['id']}/commit"), 409, "version-conflict")
        self.assertEqual([version["number"] for version in refused["versions"]], [3, 2])
        self.assertEqual((refused["overlap"]["both_bytes"], len(refused["overlap"]["ranges"])), (12288, 2))
        self.assertIn("12288 bytes in 2 places (8192 at byte 4096, 4096 at byte 65536)", refused["detail"])
        self.assertIn(f"{self.name}@3 of lease {other['id']} (drivers)", refused["blocked_by"])
        digests = {version["number"]: version["digest"] for version in self.api.get(f"/images/{self.name}").json["versions"]}
        self.assertEqual(self.target.compared, (digests[1], digests[3]))
        # Beside it, when that is wanted; the other link goes on over its own.
        sibling = self.wait_task(self.check(self.api.post(f"/links/{one['id']}/commit", {"sibling": True}), 202))
        self.assertEqual(sibling["subject"], f"{self.name}@4")
        parents = {version["number"]: version["parent"] for version in self.api.get(f"/images/{self.name}").json["versions"]}
        self.assertEqual(parents, {1: None, 2: f"{self.name}@1", 3: f"{self.name}@1", 4: f"{self.name}@1"})
        self.wait_task(self.check(self.api.post(f"/links/{other['id']}/commit"), 202))
        self.check(self.api.post(f"/links/{one['id']}/commit", {"sibling": "yes"}), 400, "invalid")

    def test_a_commit_that_is_under_way_counts_and_a_failed_one_does_not(self):
        self.ready_image()
        one, other = (self.add_lease(self.name, policy="super") for _ in range(2))
        self.target.hold_imports = True
        try:
            task = self.check(self.api.post(f"/links/{other['id']}/commit"), 202)
            refused = self.check(self.api.post(f"/links/{one['id']}/commit"), 409, "version-conflict")
            self.assertIn("still being made", refused["detail"])
            self.check(self.api.delete(f"/tasks/{task['id']}"), 202)
        finally:
            self.target.hold_imports = False
        wait_until(lambda: self.api.get(f"/tasks/{task['id']}").json["state"] not in ("queued", "running"), "it ended")
        if self.api.get(f"/tasks/{task['id']}").json["state"] == "cancelled":
            self.wait_task(self.check(self.api.post(f"/links/{one['id']}/commit"), 202))

    def test_a_link_that_was_reset_is_no_longer_what_it_was_saved_as(self):
        self.ready_image()
        link = self.add_lease(self.name, policy="super")
        self.wait_task(self.check(self.api.post(f"/links/{link['id']}/save", {"channel": "kept"}), 202))
        self.check(self.api.post(f"/links/{link['id']}/reset"), 200)
        self.check(self.api.post(f"/links/{link['id']}/commit"), 409, "version-conflict")

    def kept_behind(self, **link):
        """A keep link on version 1 of an image whose production has gone to version 2; both digests."""
        self.ready_image()
        lease = self.add_lease(self.name, policy="keep", **link)
        self.upload(self.name, query="?channel=production&note=May")
        self.assertEqual(self.api.get(f"/links/{lease['id']}").json["version"], 1)
        self.assertEqual(self.api.get(f"/links/{lease['id']}").json["disks"][0]["channel_version"], 2)
        digests = {version["number"]: version["digest"] for version in self.api.get(f"/images/{self.name}").json["versions"]}
        return lease, digests[1], digests[2]

    def test_reportRebase(self):
        lease, old, new = self.kept_behind()
        path = f"/links/{lease['id']}/rebase"
        report = self.check(self.viewer.get(path), 200)
        self.assertEqual((report["from"], report["to"], report["channel"], report["to_note"], report["up_to_date"], report["used_by"]),
                         (1, 2, "production", "May", False, []))
        self.assertEqual(self.target.compared, (old, new))
        self.assertEqual((report["overlap"]["mine_bytes"], report["overlap"]["both_bytes"]), (20480, 12288))
        fresh, written = report["choices"]
        self.assertEqual((fresh["take"], fresh["possible"], fresh["why_not"]), ("fresh", True, None))
        self.assertIn("dropped", fresh["means"])
        self.assertEqual((written["take"], written["possible"]), ("written", False))
        self.assertIn("12288 bytes in 2 places", written["why_not"])
        self.assertEqual(self.api.get(f"/links/{lease['id']}").json["version"], 1)
        self.target.links[lease["id"]]["sessions"] = [{"initiator_name": "iqn.pc", "address": "10.0.0.9:1", "since": "2026-11-21T09:00:00Z", "isid": "400027230001"}]
        report = self.check(self.api.get(path), 200)
        self.assertEqual(report["used_by"], ["iqn.pc at 10.0.0.9:1"])
        self.assertIn("shut it down", report["choices"][0]["why_not"])
        self.target.links[lease["id"]]["sessions"] = []
        same = self.check(self.api.get(f"{path}?onto={self.name}@1&lun=0"), 200)
        self.assertEqual((same["up_to_date"], same["channel"], same["choices"][0]["possible"]), (True, None, False))
        for query, status, kind in (("?lun=1", 404, "no-such-lun"), ("?lun=x", 400, "invalid"), ("?lun=256", 400, "invalid"),
                                    ("?onto=a/b", 400, "invalid"), (f"?onto={self.name}@9", 409, "image-not-ready")):
            problem = self.check(self.api.get(path + query), status, kind)
            self.assertEqual(problem["field"], "lun" if "lun" in query else "onto")
        other = self.ready_image(f"{self.name}-other")
        self.check(self.api.get(f"{path}?onto={other}"), 409, "other-image")
        plain = self.add_lease(self.name)
        problem = self.check(self.api.get(f"/links/{plain['id']}/rebase"), 409, "discard-disk")
        self.assertIn("next boot", problem["detail"])
        pinned = self.add_lease(f"{self.name}@1", policy="keep")
        self.assertIsNone(pinned["disks"][0]["channel_version"])
        problem = self.check(self.api.get(f"/links/{pinned['id']}/rebase"), 400, "invalid")
        self.assertIn("follows no channel", problem["detail"])
        self.check(self.ci.get(path), 403, "role-not-allowed")
        self.check(self.api.get(f"/links/{uuid.uuid4()}/rebase"), 404, "not-found")

    def test_showUsage(self):
        lease = self.add_lease(self.ready_image())
        path = f"/links/{lease['id']}/usage"
        found = self.check(self.viewer.get(path), 200)
        self.assertEqual((found["link_id"], found["client"], found["lun"], found["image"], found["policy"]),
                         (lease["id"], None, 0, self.name, "discard"))
        self.assertEqual((found["used_bytes"], found["outside_bytes"], found["live"], found["complete"]), (24576, 4096, False, True))
        windows, locked = found["partitions"]
        self.assertEqual([(file["path"], file["written_bytes"]) for file in windows["files"]],
                         [("/pagefile.sys", 8192), ("/Users/Jürgen/save.dat", 4096)])
        self.assertEqual((locked["file_system"], locked["readable"], locked["number"]), ("BitLocker", False, None))
        self.assertEqual(self.target.usage_asked[-1], {"lun": "0", "files": "20"})
        self.target.usage_changes = {"complete": False, "why": "it took longer than 60 s"}
        cut = self.check(self.api.get(f"{path}?files=3&lun=0"), 200)
        self.assertEqual((cut["complete"], cut["why"]), (False, "it took longer than 60 s"))
        self.assertEqual(self.target.usage_asked[-1], {"lun": "0", "files": "3"})
        # An answer that makes no sense is not passed on.
        self.target.usage_changes = {"used_bytes": -1}
        self.check(self.api.get(path), 502, "target-failed")
        self.target.usage_changes = {}
        for refusal in ((409, "disk-busy", "it is being saved"), (503, "usage-busy", "another disk is looked into")):
            self.target.usage_refused = refusal
            problem = self.check(self.api.get(path), refusal[0], refusal[1])
            self.assertIn(refusal[2], problem["detail"])
        for query, status, kind in (("?lun=1", 404, "no-such-lun"), ("?lun=x", 400, "invalid"), ("?lun=256", 400, "invalid"),
                                    ("?files=101", 400, "invalid"), ("?files=-1", 400, "invalid")):
            problem = self.check(self.api.get(path + query), status, kind)
            self.assertEqual(problem["field"], "lun" if "lun" in query else "files")
        self.check(self.ci.get(path), 403, "role-not-allowed")
        self.check(self.api.get(f"/links/{uuid.uuid4()}/usage"), 404, "not-found")

    def test_rebaseLink(self):
        lease, old, new = self.kept_behind()
        path = f"/links/{lease['id']}/rebase"
        refused = self.check(self.operator.post(path, {"take": "written"}), 409, "overlap")
        self.assertEqual(len(refused["overlap"]["ranges"]), 2)
        self.target.links[lease["id"]]["sessions"] = [{"initiator_name": "iqn.pc", "address": "10.0.0.9:1", "since": "2026-11-21T09:00:00Z", "isid": "400027230001"}]
        refused = self.check(self.api.post(path, {"take": "fresh"}), 409, "link-running")
        self.assertEqual(refused["blocked_by"], ["iqn.pc at 10.0.0.9:1"])
        self.target.links[lease["id"]]["sessions"] = []
        task = self.check(self.operator.post(path, {"take": "written", "force": True}), 202)
        self.assertEqual((task["kind"], task["subject"]), ("rebase", f"lease: {self.name}@1 to {self.name}@2"))
        done = self.wait_task(task)
        self.assertEqual(self.target.rebased, {"lun": 0, "from": old, "version": new, "take": "written", "force": True})
        self.assertEqual(done["result"], {"lun": 0, "from": f"{self.name}@1", "to": f"{self.name}@2", "take": "written",
                                          "mine_bytes": 20480, "theirs_bytes": 65536, "both_bytes": 12288})
        event = self.wait_event("rebase_done", link_id=lease["id"])
        self.assertEqual((event["data"]["to"], event["data"]["take"]), (f"{self.name}@2", "written"))
        link = self.api.get(f"/links/{lease['id']}").json
        self.assertEqual((link["version"], link["channel"], link["state"]), (2, "production", "ready"))
        self.check(self.api.post(path, {"take": "fresh"}), 409, "up-to-date")
        # A version pins, a channel is followed; also where the version is the same.
        self.wait_task(self.check(self.api.post(path, {"take": "fresh", "onto": f"{self.name}@1"}), 202))
        link = self.api.get(f"/links/{lease['id']}").json
        self.assertEqual((link["version"], link["channel"]), (1, None))
        self.check(self.api.put(f"/images/{self.name}/channels/exam", {"version": 1}), 200)
        self.wait_task(self.check(self.api.post(path, {"take": "written", "onto": f"{self.name}:exam"}), 202))
        self.assertEqual(self.api.get(f"/links/{lease['id']}").json["channel"], "exam")
        for bad in ({}, {"take": "both"}, {"take": "fresh", "lun": 256}, {"take": "fresh", "force": 1}, {"take": "fresh", "onto": 1}, {"more": 1}):
            self.check(self.api.post(path, bad), 400, "invalid")
        self.check(self.api.post(f"/links/{uuid.uuid4()}/rebase", {"take": "fresh"}), 404, "not-found")
        self.refuses_roles("POST", path, {"take": "fresh"})

    def test_a_rebase_beside_another_task_is_refused_and_a_failed_one_changes_nothing(self):
        lease, _, _ = self.kept_behind()
        path = f"/links/{lease['id']}/rebase"
        self.target.hold_imports = True
        try:
            saving = self.check(self.api.post(f"/links/{lease['id']}/save"), 202)
            refused = self.check(self.api.post(path, {"take": "fresh"}), 409, "link-busy")
            self.assertEqual(refused["blocked_by"], [f"task {saving['id']}"])
            self.check(self.api.delete(f"/tasks/{saving['id']}"), 202)
        finally:
            self.target.hold_imports = False
        wait_until(lambda: self.api.get(f"/tasks/{saving['id']}").json["state"] not in ("queued", "running"), "it ended")
        self.target.import_error = "link is in use by iqn.pc"
        try:
            failed = self.wait_task(self.check(self.api.post(path, {"take": "fresh"}), 202), "failed")
        finally:
            self.target.import_error = None
        self.assertIn("in use by iqn.pc", failed["error"])
        self.assertEqual(self.api.get(f"/links/{lease['id']}").json["version"], 1)
        states = {each["number"]: each["state"] for each in self.api.get(f"/images/{self.name}").json["versions"]}
        self.assertEqual((states[1], states[2]), ("ready", "ready"))

    def test_what_both_changed_of_one_partition_is_as_bad_as_of_one_block(self):
        lease, _, _ = self.kept_behind()
        self.target.both_bytes = 0
        self.target.both_partitions = [
            {"number": 2, "offset_bytes": 1 << 20, "length_bytes": 1 << 30, "mine_bytes": 4096, "theirs_bytes": 65536},
            {"number": None, "offset_bytes": 0, "length_bytes": 1 << 31, "mine_bytes": 4096, "theirs_bytes": 65536}]
        try:
            refused = self.check(self.api.post(f"/links/{lease['id']}/rebase", {"take": "written"}), 409, "overlap")
            self.assertIn("partition 2, what is outside of partitions, if in different places", refused["detail"])
            self.assertEqual(refused["overlap"]["partitions"], self.target.both_partitions)
            self.target.both_partitions = []
            self.wait_task(self.check(self.api.post(f"/links/{lease['id']}/rebase", {"take": "written"}), 202))
        finally:
            self.target.both_bytes, self.target.both_partitions = 12288, []

    def test_written_needs_a_version_that_is_as_large(self):
        self.ready_image()
        lease = self.add_lease(self.name, policy="keep")
        self.upload(self.name, content=b"z" * 512, query="?channel=production")
        self.target.both_bytes = 0
        try:
            refused = self.check(self.api.post(f"/links/{lease['id']}/rebase", {"take": "written"}), 409, "smaller-version")
        finally:
            self.target.both_bytes = 12288
        self.assertIn("has 512 bytes, the disk has 4096", refused["detail"])
        self.wait_task(self.check(self.api.post(f"/links/{lease['id']}/rebase", {"take": "fresh"}), 202))

    def test_cloneImage(self):
        self.ready_image()
        digest = self.api.get(f"/images/{self.name}").json["versions"][0]["digest"]
        new = f"{self.name}-copy"
        made = self.check(self.operator.post(f"/images/{self.name}/clone", {"name": new}), 201)
        self.assertEqual((made["name"], made["kind"], made["channels"]), (new, "disk", {"production": 1}))
        version = made["versions"][0]
        self.assertEqual((version["digest"], version["state"], version["parent"]), (digest, "ready", f"{self.name}@1"))
        lease = self.add_lease(new)
        self.assertEqual(self.target.links[lease["id"]]["disks"][0]["version"], digest)
        # The data stays while either has it.
        self.check(self.api.delete(f"/images/{self.name}"), 204)
        self.assertEqual(self.api.get(f"/images/{new}").json["versions"][0]["parent"], None)
        again = self.check(self.api.post(f"/images/{new}/clone", {"name": self.name, "version": 1, "note": "back"}), 201)
        self.assertEqual(again["versions"][0]["note"], "back")
        self.assertIn(digest, self.target.versions)
        self.check(self.api.post(f"/images/{new}/clone", {"name": self.name}), 409, "name-taken")
        self.check(self.api.post(f"/images/{new}/clone", {"name": f"{new}2", "version": 2}), 409, "version-not-ready")
        self.check(self.api.get(f"/images/{new}2"), 404, "not-found")
        for bad in ({}, {"name": "a/b"}, {"name": "x", "version": 0}, {"name": "x", "size": 1}):
            self.check(self.api.post(f"/images/{new}/clone", bad), 400, "invalid")
        self.check(self.api.post("/images/nowhere/clone", {"name": "x"}), 404, "not-found")
        self.refuses_roles("POST", f"/images/{new}/clone", {"name": "x"})

    def test_growImage(self):
        self.ready_image()
        task = self.check(self.operator.post(f"/images/{self.name}/grow", {"size_bytes": 1 << 30, "channel": "big", "note": "1 GiB"}), 202)
        self.assertEqual((task["kind"], task["subject"]), ("grow", f"{self.name}@2"))
        self.wait_task(task)
        image = self.api.get(f"/images/{self.name}").json
        self.assertEqual(image["channels"], {"production": 1, "latest": 2, "big": 2})
        version = image["versions"][0]
        self.assertEqual((version["size_bytes"], version["parent"], version["note"]), (1 << 30, f"{self.name}@1", "1 GiB"))
        # Again of the first, by its channel; of the grown one it must be larger still.
        self.wait_task(self.check(self.api.post(f"/images/{self.name}/grow", {"size_bytes": 1 << 29}), 202))
        self.assertEqual(self.api.get(f"/images/{self.name}").json["versions"][0]["parent"], f"{self.name}@1")
        smaller = self.check(self.api.post(f"/images/{self.name}/grow", {"size_bytes": 1 << 30, "version": 2}), 400, "invalid")
        self.assertIn("not smaller", smaller["detail"])
        for bad in ({}, {"size_bytes": 0}, {"size_bytes": (1 << 30) + 512}, {"size_bytes": 1 << 42}, {"size_bytes": 1 << 31, "channel": "X"}):
            self.check(self.api.post(f"/images/{self.name}/grow", bad), 400, "invalid")
        self.check(self.api.post("/images/nowhere/grow", {"size_bytes": 1 << 31}), 404, "not-found")
        self.upload(f"{self.name}-disc", query="?format=iso")
        self.check(self.api.post(f"/images/{self.name}-disc/grow", {"size_bytes": 1 << 31}), 400, "invalid")
        self.refuses_roles("POST", f"/images/{self.name}/grow", {"size_bytes": 1 << 31})

    def test_saveLink(self):
        self.ready_image()
        lease = self.add_lease(self.name)
        task = self.check(self.operator.post(f"/links/{lease['id']}/save", {"note": "before the exam", "channel": "exam"}), 202)
        self.assertEqual((task["kind"], task["subject"]), ("save", f"{self.name}@2"))
        done = self.wait_task(task)
        self.assertEqual((done["result"]["live"], done["message"]), (False, "done"))
        image = self.api.get(f"/images/{self.name}").json
        self.assertEqual(image["channels"], {"production": 1, "latest": 2, "exam": 2})
        made = image["versions"][0]
        self.assertEqual((made["note"], made["parent"], made["made_by"]),
                         ("before the exam", f"{self.name}@1", f"lease {lease['id']}"))
        self.assertEqual((image["versions"][1]["parent"], image["versions"][1]["made_by"]), (None, None))
        self.assertEqual(self.api.get(f"/links/{lease['id']}").json["version"], 1, "the link stays what it is")

        # As a new image, while a client runs on an older version than the next boot's.
        self.target.links[lease["id"]]["sessions"] = [{"initiator_name": "i", "address": "a", "since": "2026-11-21T09:00:00Z", "isid": "400027230001"}]
        self.target.links[lease["id"]]["runs_on"] = made["digest"]
        task = self.check(self.api.post(f"/links/{lease['id']}/save", {"image": f"{self.name}-new"}), 202)
        done = self.wait_task(task)
        self.assertTrue(done["result"]["live"])
        self.assertIn("as after a power cut", done["message"])
        image = self.api.get(f"/images/{self.name}-new").json
        self.assertEqual((image["channels"], image["versions"][0]["parent"]), ({"production": 1}, f"{self.name}@2"))
        taken = self.check(self.api.post(f"/links/{lease['id']}/save", {"image": f"{self.name}-new"}), 409, "name-taken")
        self.assertEqual(taken["field"], "image")
        for bad in ({"channel": "X"}, {"image": "a/b"}, {"lun": 256}, {"force": True}):
            self.check(self.api.post(f"/links/{lease['id']}/save", bad), 400, "invalid")
        self.check(self.api.post(f"/links/{lease['id']}/save", {"lun": 1}), 404, "no-such-lun")
        two = self.add_lease(self.name, disks=[{"lun": 1, "image": self.name, "policy": "keep"}])
        self.assertIn("lun 1", self.check(self.api.post(f"/links/{two['id']}/save"), 409, "several-disks")["detail"])
        self.wait_task(self.check(self.api.post(f"/links/{two['id']}/save", {"lun": 1}), 202))
        self.check(self.api.post(f"/links/{uuid.uuid4()}/save"), 404, "not-found")
        self.refuses_roles("POST", f"/links/{lease['id']}/save")

    def test_salvageLink(self):
        self.ready_image()
        lease = self.add_lease(self.name, policy="keep")
        done = self.wait_task(self.check(self.operator.post(f"/links/{lease['id']}/salvage", {"image": f"{self.name}-saved"}), 202))
        self.assertEqual((done["kind"], done["subject"]), ("salvage", f"{self.name}-saved@1"))
        self.assertEqual(done["result"]["salvage"]["lost"], [{"offset_bytes": 8192, "length_bytes": 4096}])
        self.assertIn("4096 bytes are lost", done["message"])
        version = self.api.get(f"/images/{self.name}-saved").json["versions"][0]
        self.assertEqual((version["state"], version["made_by"]), ("ready", f"lease {lease['id']}"))
        self.check(self.api.post(f"/links/{lease['id']}/salvage", {"image": f"{self.name}-saved"}), 409, "name-taken")
        self.check(self.api.post(f"/links/{uuid.uuid4()}/salvage"), 404, "not-found")
        self.refuses_roles("POST", f"/links/{lease['id']}/salvage")

    def test_verifyLink(self):
        self.ready_image()
        lease = self.add_lease(self.name, policy="keep")
        for bad, words in ((0, "as it was written"), (4096, "4096 bytes are not")):
            self.target.bad_overlay_bytes = bad
            done = self.wait_task(self.check(self.operator.post(f"/links/{lease['id']}/verify", {"lun": 0}), 202))
            self.assertEqual((done["kind"], done["subject"]), ("check", f"lease {lease['id']} lun 0"))
            self.assertEqual((done["result"]["bad_bytes"], done["result"]["checked_bytes"]), (bad, 1 << 20))
            self.assertIn(words, done["message"])
        self.check(self.api.post(f"/links/{lease['id']}/verify", {"lun": 1}), 404, "no-such-lun")
        self.check(self.api.post(f"/links/{uuid.uuid4()}/verify"), 404, "not-found")
        self.refuses_roles("POST", f"/links/{lease['id']}/verify")

    def test_listTasks(self):
        self.ready_image()
        tasks = self.viewer.get_all("/tasks?state=done")
        self.assertEqual(tasks[0]["subject"], f"{self.name}@1")
        self.upload(self.name)
        page = self.check(self.api.get("/tasks?limit=1"), 200)
        self.assertEqual(page["items"][0]["subject"], f"{self.name}@2")
        following = self.check(self.api.get(f"/tasks?limit=1&cursor={page['next_cursor']}"), 200)
        self.assertEqual(following["items"][0]["subject"], f"{self.name}@1")
        self.check(self.api.get("/tasks?state=lost"), 400, "invalid")
        self.check(self.ci.get("/tasks"), 403, "role-not-allowed")

    def test_getTask(self):
        task = self.upload(self.name)
        self.assertEqual(self.check(self.viewer.get(f"/tasks/{task['id']}"), 200)["state"], "done")
        self.check(self.viewer.get(f"/tasks/{uuid.uuid4()}"), 404, "not-found")
        self.check(self.viewer.get("/tasks/1"), 404, "not-found")

    def test_cancelTask(self):
        self.target.hold_imports = True
        try:
            task = self.check(self.api.put(f"/images/{self.name}/content", b"x" * 1000), 202)
            wait_until(lambda: self.api.get(f"/tasks/{task['id']}").json["state"] == "running", "it runs")
            problem = self.check(self.api.delete(f"/images/{self.name}"), 409, "image-in-use")
            self.assertEqual(problem["blocked_by"], [f"task {task['id']}"])
            self.check(self.operator.delete(f"/tasks/{task['id']}"), 202)
            self.wait_task(task, "cancelled")
        finally:
            self.target.hold_imports = False
        self.assertEqual(self.api.get(f"/images/{self.name}").json["versions"][0]["state"], "failed")
        self.check(self.api.delete(f"/tasks/{task['id']}"), 409, "task-ended")
        self.check(self.api.delete(f"/tasks/{uuid.uuid4()}"), 404, "not-found")
        self.refuses_roles("DELETE", f"/tasks/{task['id']}")

    def test_listEvents(self):
        start = self.check(self.api.get("/events?limit=1000"), 200)["next"]
        self.add_client(self.name + "a")
        self.add_client(self.name + "b")
        page = self.check(self.viewer.get(f"/events?after={start}&limit=1"), 200)
        self.assertEqual((len(page["items"]), page["items"][0]["kind"]), (1, "client_added"))
        rest = self.check(self.viewer.get(f"/events?after={page['next']}&client={self.name}b"), 200)
        self.assertEqual([event["client"] for event in rest["items"]], [self.name + "b"])
        empty = self.check(self.viewer.get(f"/events?after={rest['next']}&client={self.name}b"), 200)
        self.assertEqual((empty["items"], empty["next"]), ([], rest["next"]))
        self.check(self.api.get("/events?after=-1"), 400, "invalid")
        self.check(self.api.get("/events?after=x"), 400, "invalid")
        self.check(self.ci.get("/events"), 403, "role-not-allowed")

    def test_listEvents_streams_and_resumes(self):
        stream = EventStream(self.viewer)
        self.addCleanup(stream.close)
        self.assertEqual((stream.status, stream.content_type), (200, "text/event-stream"))
        self.add_client(self.name + "1")
        first = wait_until(lambda: stream.events and stream.events[0], "the event arrives at once")
        self.assertEqual((first["kind"], first["client"]), ("client_added", self.name + "1"))
        stream.close()
        self.add_client(self.name + "2")
        self.add_client(self.name + "3")
        resumed = EventStream(self.viewer, headers={"Last-Event-ID": str(first["id"])})
        self.addCleanup(resumed.close)
        wait_until(lambda: len(resumed.events) >= 2, "what was missed arrives")
        self.assertEqual([event["client"] for event in resumed.events[:2]], [self.name + "2", self.name + "3"])
        self.contract.validate(resumed.events[0], {"$ref": "#/components/schemas/Event"}, "event")
        mine = EventStream(self.viewer, f"/events?client={self.name}5")
        self.addCleanup(mine.close)
        self.add_client(self.name + "4")
        self.add_client(self.name + "5")
        wait_until(lambda: mine.events, "the client's event arrives")
        self.assertEqual([event["client"] for event in mine.events], [self.name + "5"])
        self.check(self.api.get("/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "x"}), 400, "invalid")

    def test_wrong_paths_and_methods_are_problems_too(self):
        self.check(self.api.get("/nothing"), 404)
        answer = self.api.request("PUT", "/clients", b"{}")
        self.check(answer, 405, "method-not-allowed")
        self.assertIn("GET", answer.headers["Allow"])

    def test_deeply_nested_and_huge_bodies_are_refused(self):
        self.check(self.api.request("POST", "/images", b'{"name":' + b"[" * 10_000), 400, "invalid")
        self.check(self.api.request("POST", "/images", json.dumps({"name": "x" * (2 << 20)}).encode()), 413)
        self.check(self.api.request("POST", "/images", b'{"name": "\xff\xfe"}'), 400, "invalid")


class Console(ManagerCase):
    """The web console's files."""

    @classmethod
    def setUpClass(cls):
        import tempfile
        cls.web = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-web-"))
        cls.addClassCleanup(__import__("shutil").rmtree, cls.web)
        (cls.web / "assets").mkdir()
        (cls.web / "index.html").write_text("<!doctype html><title>Goldlink</title>")
        (cls.web / "assets" / "main-1a2b.js").write_text("export {}")
        (cls.web.parent / f"{cls.web.name}-secret.txt").write_text("secret")
        (cls.web / "outside.txt").symlink_to(cls.web.parent / f"{cls.web.name}-secret.txt")
        cls.addClassCleanup((cls.web.parent / f"{cls.web.name}-secret.txt").unlink)
        cls.manager_options = ("--web-dir", str(cls.web))
        super().setUpClass()
        cls.files = Api(cls.address)

    def test_index_and_the_addresses_inside_the_console(self):
        for path in ("/", "/clients", "/clients/PC-001", "/clients/PC-1.lab"):
            answer = self.files.get(path)
            self.assertEqual(answer.status, 200, path)
            self.assertIn(b"Goldlink", answer.body)
            self.assertTrue(answer.headers["Content-Type"].startswith("text/html"))
            self.assertEqual(answer.headers["Cache-Control"], "no-cache")
            self.assertIn("default-src 'self'", answer.headers["Content-Security-Policy"])
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")

    def test_built_files_are_cached_for_ever(self):
        answer = self.files.get("/assets/main-1a2b.js")
        self.assertEqual(answer.status, 200)
        self.assertIn("immutable", answer.headers["Cache-Control"])
        self.assertTrue(answer.headers["Content-Type"].startswith("text/javascript"))

    def test_nothing_outside_the_folder_is_served(self):
        self.assertEqual(self.files.get("/outside.txt").status, 404)
        self.assertNotEqual(self.files.get("/../../etc/passwd").status, 200)
        self.assertNotEqual(self.files.get("/%2e%2e/%2e%2e/etc/passwd").status, 200)
        self.assertEqual(self.files.get("/assets/none.js").status, 404)
        self.assertEqual(self.files.get("/api/v1/nothing").status, 404)
        self.assertEqual(self.files.request("POST", "/", b"x").status, 405)


if __name__ == "__main__":
    unittest.main()
