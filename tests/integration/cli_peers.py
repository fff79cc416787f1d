"""The CLI against servers that answer badly, slowly or not at all."""

import hashlib
import http.server
import json
import os
import pathlib
import struct
import subprocess
import tempfile
import threading
import unittest

from harness.processes import free_port
from harness.up import run_cli

# By its beginning; what is no raw disk is sent as a file.
GZIP = b"\x1f\x8b\x08\0" + b"0123456789ab" * 83_333
TASK = {"id": "11111111-1111-4111-8111-111111111111", "kind": "import", "subject": "a@1", "state": "running",
        "done_bytes": 0, "total_bytes": 100, "message": "", "error": None, "result": None}


class Peer:
    """An HTTP server whose answers a test decides; it keeps what it was asked."""

    def __init__(self, answer):
        peer = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                peer.requests.append((self.command, self.path, dict(self.headers), body))
                answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def send(self, status, body, content_type="application/json"):
                if not isinstance(body, (bytes, str)):
                    body = json.dumps(body)
                body = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Peers(unittest.TestCase):
    def peer(self, answer):
        peer = Peer(answer)
        self.addCleanup(peer.stop)
        return peer

    def test_a_server_that_is_no_goldlink_is_said_to_be_none(self):
        peer = self.peer(lambda h: h.send(200, "<html>hello</html>", "text/html"))
        done = run_cli("client", "ls", url=peer.url, token="t")
        self.assertEqual(done.code, 1)
        self.assertIn("is it a Goldlink manager?", done.err)

    def test_no_server(self):
        url = f"http://127.0.0.1:{free_port()}"
        done = run_cli("client", "ls", url=url, token="t")
        self.assertEqual(done.code, 1)
        self.assertIn("start the server with 'goldlink up'", done.err)
        self.assertIn(url, done.err)

    def test_a_problem_is_shown_with_reason_and_remedy(self):
        peer = self.peer(lambda h: h.send(409, {
            "type": "image-in-use", "title": "Image in use", "status": 409, "detail": "2 links use a\x1b[2J",
            "blocked_by": ["PC-001", "PC-002"]}, "application/problem+json"))
        done = run_cli("image", "rm", "a", url=peer.url, token="t")
        self.assertEqual((done.code, done.out), (1, ""))
        self.assertEqual(done.err, "goldlink: Image in use\n  why: 2 links use a\ufffd[2J\n  in the way: PC-001\n"
                         "  in the way: PC-002\n  to do: 'goldlink link ls' shows the links; remove them with "
                         "'goldlink link rm ID'\n")

    def test_pages_are_gathered(self):
        def answer(handler):
            page = 2 if "cursor=a%2Fb" in handler.path else 1
            handler.send(200, {"items": [{"name": f"PC-00{page}"}], "next_cursor": "a/b" if page == 1 else None})
        peer = self.peer(answer)
        done = run_cli("client", "ls", "--json", url=peer.url, token="t")
        self.assertEqual([client["name"] for client in done.json], ["PC-001", "PC-002"])
        self.assertEqual(peer.requests[0][2]["Authorization"], "Bearer t")

    def test_a_task_is_followed_to_its_failure(self):
        def answer(handler):
            asked = len(peer.requests)
            if asked < 4:
                handler.send(202, {**TASK, "done_bytes": asked * 10})
            else:
                handler.send(200, {**TASK, "state": "failed", "error": "qemu-img: not a disk"})
        peer = self.peer(answer)
        done = run_cli("link", "commit", "x", url=peer.url, token="t")
        self.assertEqual(done.code, 1)
        self.assertIn("the import failed\n  why: qemu-img: not a disk", done.err)
        self.assertEqual(len(peer.requests), 4)

    def test_a_task_is_followed_through_a_manager_that_is_away_for_a_moment(self):
        def answer(handler):
            asked = len(peer.requests)
            if asked == 2:
                handler.send(503, {"type": "database-unavailable", "title": "Database down", "detail": "no socket"})
            else:
                handler.send(200, TASK if asked < 4 else {**TASK, "state": "done", "done_bytes": 100})
        peer = self.peer(answer)
        done = run_cli("task", "wait", TASK["id"], url=peer.url, token="t")
        self.assertEqual(done.code, 0, done)
        self.assertIn("100 %", done.err)

    def test_a_link_that_is_not_served_is_shown_and_fails(self):
        peer = self.peer(lambda h: h.send(202, {"id": "x", "state": "pending", "problem": "target is down",
                                                "image": "a", "version": 1}))
        done = run_cli("link", "create", "--lease", "1h", "--image", "a", "--json", url=peer.url, token="t")
        self.assertEqual(done.code, 1)
        self.assertEqual(done.json["state"], "pending")
        self.assertIn("why: target is down", done.err)
        self.assertEqual(json.loads(peer.requests[0][3]), {"image": "a", "lease": "1h"})

    def test_an_upload_sends_the_file_whole_and_says_why_it_was_refused(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(GZIP)
            file.flush()
            name = file.name.rsplit("/", 1)[1]

            def answer(handler):
                if handler.path.endswith("/uploads"):
                    handler.send(201, {"id": TASK["id"], "subject": "a@1", "files": [
                        {"name": name, "size_bytes": 1_000_000, "received_bytes": 0}]})
                elif handler.command == "PUT":
                    handler.send(507, {"type": "store-full", "title": "Store full", "detail": "1 MB free"})
                else:
                    handler.send(202, TASK)
            peer = self.peer(answer)
            done = run_cli("image", "import", "a", file.name, "--version-note", "x & y", url=peer.url, token="t")
        self.assertEqual(done.code, 1)
        self.assertIn("Store full\n  why: 1 MB free", done.err)
        begun, piece, dropped = peer.requests
        self.assertEqual(json.loads(begun[3]), {"files": [{"name": name, "size_bytes": 1_000_000}], "note": "x & y"})
        self.assertEqual((piece[0], piece[3]), ("PUT", GZIP))
        self.assertIn("offset=0", piece[1])
        # What no repetition would mend is given up at once, and nothing of it is left on the server.
        self.assertEqual((dropped[0], dropped[1]), ("DELETE", f"/api/v1/tasks/{TASK['id']}"))

    def test_an_upload_is_not_tried_for_ever_and_says_how_to_go_on(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(GZIP)
            file.flush()
            name = file.name.rsplit("/", 1)[1]

            def answer(handler):  # takes a quarter each time, then nothing more
                received = min(3, sum(request[0] == "PUT" for request in peer.requests)) * 250_000
                if handler.command == "PUT":
                    handler.close_connection = True
                else:
                    handler.send(201 if handler.command == "POST" else 200, {
                        "id": TASK["id"], "subject": "a@1",
                        "files": [{"name": name, "size_bytes": 1_000_000, "received_bytes": received}]})
            peer = self.peer(answer)
            done = run_cli("image", "import", "a", file.name, url=peer.url, token="t",
                           environment={"GOLDLINK_RETRY_PAUSE_MS": "1"})
        self.assertEqual(done.code, 1)
        self.assertIn(f"--resume {TASK['id']}", done.err)
        pieces = [(path.rpartition("offset=")[2], len(body)) for method, path, _, body in peer.requests if method == "PUT"]
        self.assertEqual(pieces[:4], [("0", 1_000_000), ("250000", 750_000), ("500000", 500_000), ("750000", 250_000)])
        self.assertEqual(len(pieces), 3 + 10)

    def delta_import(self, at_missing):
        """Imports a file by delta at a server that lacks everything; `at_missing` runs when it is asked."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(510) + b"\x55\xaa" + b"0123456789" * 20_000)
            file.flush()

            def answer(handler):
                if handler.path.endswith("/missing"):
                    at_missing(file.name)
                    handler.send(200, b"\1" * 4, "application/octet-stream")
                elif handler.command == "PUT":
                    handler.send(200, {**TASK, "state": "done"})
                else:
                    handler.send(201, TASK)
            peer = self.peer(answer)
            done = run_cli("image", "import", "a", file.name, "--delta", url=peer.url, token="t")
        return done, [(method, path) for method, path, _, _ in peer.requests]

    def test_a_disk_that_changes_while_it_is_read_makes_no_version(self):
        def grow(name):
            with open(name, "ab") as file:
                file.write(b"x")

        def overwrite(name):
            with open(name, "r+b") as file:
                file.write(b"x")
            os.utime(name, ns=(1, 1))

        for change, says in ((grow, "had 200512 bytes when it was opened and has 200513 now"),
                             (lambda name: os.truncate(name, 1000), "has 1000 now"),
                             (overwrite, "was written to while it was read")):
            done, requests = self.delta_import(change)
            self.assertEqual(done.code, 1)
            self.assertIn(says, done.err)
            self.assertEqual(requests[-1], ("DELETE", f"/api/v1/tasks/{TASK['id']}"))
            self.assertNotIn("manifest", requests[-2][1])
        done, requests = self.delta_import(lambda name: None)
        self.assertEqual(done.code, 0, done)
        self.assertEqual(requests[-1][0], "PUT")
        self.assertIn("/manifest?digest=", requests[-1][1])

    def test_an_export_that_does_not_come_as_it_was_written_is_not_kept(self):
        content = b"0123456789" * 10_000
        sha256 = hashlib.sha256(content).hexdigest()

        def answer(handler):
            if handler.path.startswith("/api/v1/images/"):
                handler.send(200, {"name": "a", "channels": {"production": 1}, "versions": []}
                             if handler.command == "GET" else
                             {**TASK, "kind": "export", "state": "done",
                              "result": {"bytes": len(content), "format": "raw", "sha256": sha256}})
            elif handler.command == "DELETE":
                handler.send(204, b"")
            else:
                handler.send(200, self.sent, "application/octet-stream")
        peer = self.peer(answer)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.vhdx"
            self.sent = content[:500] + b"x" + content[501:]
            done = run_cli("image", "export", "a", path, url=peer.url, token="t")
            self.assertEqual(done.code, 1)
            self.assertIn("not the file that the server wrote", done.err)
            self.assertIn(sha256, done.err)
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])
            self.sent = content
            done = run_cli("image", "export", "a", path, url=peer.url, token="t")
            self.assertEqual(done.code, 0, done)
            self.assertEqual(path.read_bytes(), content)

    def test_what_a_wrong_server_gives_of_a_version_is_not_believed(self):
        chunk, other = b"\7" * 65536, b"\5" * 65536
        manifest = (b"GLmanif\n" + struct.pack("<IIQQ", 1, 65536, 2 * 65536, 2) + bytes(32)
                    + hashlib.sha256(chunk).digest() + hashlib.sha256(other).digest())
        right = {"size_bytes": 2 * 65536, "manifest": manifest, "frame": self.frame(chunk + other)}

        def answer(handler):
            if handler.path.endswith("/manifest"):
                handler.send(200, self.given["manifest"], "application/octet-stream")
            elif handler.path.endswith("/chunks"):
                handler.send(200, self.given["frame"], "application/octet-stream")
            else:
                handler.send(200, {"name": "a", "channels": {"production": 1}, "versions": [
                    {"number": 1, "state": "ready", "size_bytes": self.given["size_bytes"],
                     "digest": hashlib.sha256(manifest).hexdigest()}]})
        peer = self.peer(answer)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.raw"
            path.write_bytes(b"old" * 1000)
            for wrong, says in (
                    ({"manifest": manifest + b"x"}, "is longer than its header says"),
                    ({"manifest": manifest[:-1] + b"x"}, "does not match the version's digest"),
                    ({"manifest": b"x" * 128}, "does not begin as a manifest"),
                    ({"size_bytes": 3 * 65536}, "is of a disk of 131072 bytes, the version has 196608"),
                    ({"size_bytes": 1 << 60}, "a disk has 1 to"),
                    ({"frame": self.frame(chunk + chunk)}, "is something else"),
                    ({"frame": self.frame(chunk)}, "where 2 chunks were asked for"),
                    ({"frame": b"x"}, "no zstd frame"),
                    ({"frame": bytes(2 << 20)}, "longer than 1048576 bytes")):
                self.given = {**right, **wrong}
                done = run_cli("image", "export", "a", path, "--delta", url=peer.url, token="t",
                               environment={"GOLDLINK_RETRY_PAUSE_MS": "1"})
                self.assertEqual(done.code, 1, f"{wrong.keys()}: {done}")
                self.assertIn(says, done.err)
                self.assertEqual(path.read_bytes(), b"old" * 1000)
                self.assertEqual([entry.name for entry in pathlib.Path(folder).iterdir()], ["a.raw"])
            self.given = right
            done = run_cli("image", "export", "a", path, "--delta", url=peer.url, token="t")
            self.assertEqual(done.code, 0, done)
            self.assertEqual(path.read_bytes(), chunk + other)

    def test_chunks_that_come_wrong_as_they_are_are_asked_for_packed(self):
        """What is packed, the server checks: so either it is right, or the server says what is wrong."""
        content = [bytes([n + 1]) * 65536 for n in range(100)]
        digests = {hashlib.sha256(chunk).digest(): chunk for chunk in content}
        manifest = (b"GLmanif\n" + struct.pack("<IIQQ", 1, 65536, 100 * 65536, 100) + bytes(32) + b"".join(digests))
        asked = []

        def answer(handler):
            if handler.path.endswith("/manifest"):
                handler.send(200, manifest, "application/octet-stream")
            elif "/chunks" in handler.path:
                body = peer.requests[-1][3]
                wanted = b"".join(digests[body[at:at + 32]] for at in range(0, len(body), 32))
                asked.append(("identity" in handler.path, len(body) // 32))
                handler.send(200, self.plain(wanted) if asked[-1][0] else self.frame(wanted), "application/octet-stream")
            else:
                handler.send(200, {"name": "a", "channels": {"production": 1}, "versions": [
                    {"number": 1, "state": "ready", "size_bytes": 100 * 65536,
                     "digest": hashlib.sha256(manifest).hexdigest()}]})
        peer = self.peer(answer)
        for plain in (lambda right: right,
                      lambda right: right[:70_000] + b"x" + right[70_001:],
                      lambda right: right[:-1],
                      lambda right: right + b"x",
                      lambda right: b""):
            self.plain = plain
            asked.clear()
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "a.raw"
                done = run_cli("image", "export", "a", path, url=peer.url, token="t",
                               environment={"GOLDLINK_RETRY_PAUSE_MS": "1"})
                self.assertEqual(done.code, 0, done)
                self.assertEqual(path.read_bytes(), b"".join(content))
            self.assertTrue(any(as_is for as_is, _ in asked), asked)
            self.assertTrue(any(not as_is for as_is, _ in asked), asked)

    @staticmethod
    def frame(content):
        with tempfile.NamedTemporaryFile() as file:  # a file, so that the frame says its length
            file.write(content)
            file.flush()
            return subprocess.run(["zstd", "-c", file.name], check=True, capture_output=True).stdout

    def test_damaged_places_are_printed_and_fail_the_verify(self):
        def answer(handler):
            if handler.command == "GET" and handler.path.startswith("/api/v1/images/"):
                handler.send(200, {"name": "a", "channels": {"production": 3}, "versions": []})
            else:
                handler.send(202, {**TASK, "kind": "verify", "state": "done", "result": {
                    "findings": [{"chunk": "ab12", "offset_bytes": 65536}]}})
        peer = self.peer(answer)
        done = run_cli("image", "verify", "a", url=peer.url, token="t")
        self.assertEqual(done.code, 1)
        self.assertEqual(done.out, "chunk ab12, offset_bytes 65536\n")
        self.assertIn("a@3 is damaged in 1 place", done.err)

    def test_events_go_on_after_a_broken_stream(self):
        events = [{"id": n, "time": "2026-11-21T09:00:00Z", "kind": "login", "client": "PC-001", "link_id": None,
                   "boot_id": None, "data": {}} for n in (1, 2, 3)]

        def answer(handler):
            if handler.headers["Accept"] != "text/event-stream":
                handler.send(200, {"items": [], "next": 0})
                return
            last = int(handler.headers.get("Last-Event-ID") or 0)
            if last == 3:
                handler.send(403, {"title": "Token expired", "detail": "at 09:00"})
            else:  # one event a connection, which then ends
                handler.send(200, f": hi\n\nid: {last + 1}\ndata: {json.dumps(events[last])}\n\n", "text/event-stream")
        peer = self.peer(answer)
        done = run_cli("events", "--follow", "--json", url=peer.url, token="t")
        self.assertEqual([json.loads(line)["id"] for line in done.out.splitlines()], [1, 2, 3])
        self.assertEqual(done.code, 1)
        self.assertIn("Token expired", done.err)

    def test_a_token_with_a_line_break_is_not_sent(self):
        peer = self.peer(lambda h: h.send(200, {"items": [], "next_cursor": None}))
        done = run_cli("client", "ls", url=peer.url, token="a\r\nX-Evil: 1")
        self.assertEqual(done.code, 1)
        self.assertEqual(peer.requests, [])


if __name__ == "__main__":
    unittest.main()
