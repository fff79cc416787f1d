"""Stand-ins for goldlink-target and goldlink-pxe: their control APIs over a unix socket, in memory.

For tests of the manager alone, where a test decides what the daemon answers and when. The suites
that prove the whole run against the real daemons.
"""

import datetime
import hashlib
import http.server
import json
import pathlib
import re
import socketserver
import sys
import threading
import time
import urllib.parse
import uuid


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Refused(Exception):
    def __init__(self, status, kind, detail):
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # callers may be killed
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def address_string(self):
        return "unix"

    def _serve(self):
        fake = self.server.fake
        path, _, query = self.path.partition("?")
        parameters = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        try:
            status, body = fake.dispatch(self.command, path, parameters, self)
        except Refused as refused:
            status = refused.status
            body = {"type": refused.kind, "title": refused.kind, "status": status, "detail": refused.detail}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def body_json(self):
        length = int(self.headers.get("Content-Length") or 0)
        return json.loads(self.rfile.read(length)) if length else {}

    def body_chunks(self):
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            data = self.rfile.read(min(left, 1 << 16))
            if not data:
                raise ConnectionResetError("the upload was cut off")
            left -= len(data)
            yield data


class FakeDaemon:
    """Routes are methods found by a table of (method, pattern); one lock guards the state."""

    def __init__(self, socket_path):
        self.socket_path = pathlib.Path(socket_path)
        self.lock = threading.RLock()
        self.events = []
        self.next_seq = 1
        self.calls = []
        self.problems = []             # of GET /status
        self.spoil = lambda page: page  # what becomes of the bytes of a page of events
        self.answers = threading.Event()  # cleared: it takes requests and says nothing
        self.answers.set()
        self.server = None

    @property
    def address(self):
        return f"unix:{self.socket_path}"

    def start(self):
        self.socket_path.unlink(missing_ok=True)
        self.server = _Server(str(self.socket_path), _Handler)
        self.server.fake = self
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self):
        """Gone for callers; the state stays, as a real daemon's does."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
        self.socket_path.unlink(missing_ok=True)

    def dispatch(self, method, path, query, request):
        self.answers.wait()
        with self.lock:
            self.calls.append((method, path))
        for wanted, pattern, handler in self.routes():
            match = re.fullmatch(pattern, path)
            if match and wanted == method:
                return handler(*match.groups(), query=query, request=request)
        raise Refused(404, "not-found", f"no route {method} {path}")

    def add_event(self, kind, **members):
        with self.lock:
            event = {"seq": self.next_seq, "time": members.pop("time", now()), "kind": kind, "data": {}, **members}
            self.events.append(event)
            self.next_seq += 1
            return event["seq"]

    def lose_events(self):
        with self.lock:
            self.events, self.next_seq = [], 1

    def get_events(self, query, request):
        after = int(query.get("after", 0))
        deadline = time.monotonic() + min(float(query.get("wait_seconds", 0)), 2)
        while True:
            with self.lock:
                start = after if after < self.next_seq else 0
                found = [event for event in self.events if event["seq"] > start]
                if found or time.monotonic() > deadline or self.server is None:
                    page = {"events": found, "next": found[-1]["seq"] if found else start}
                    return 200, self.spoil(json.dumps(page, separators=(",", ":")).encode())
            time.sleep(0.01)


class FakeTarget(FakeDaemon):
    def __init__(self, socket_path, portal="127.0.0.1:3260"):
        super().__init__(socket_path)
        self.portal = portal
        self.links, self.uploads, self.imports, self.versions = {}, {}, {}, {}
        self.sets, self.exports = {}, {}   # {upload: {file: bytearray}}, {task: bytes}
        self.revision = 0
        self.link_refusal = None       # (status, type, detail) for PUT /links/{id}
        self.import_error = None       # message: imports fail with it
        self.upload_refusal = None     # (status, type, detail) for PUT /uploads/{name}
        self.hold_imports = False      # imports stay running
        self.findings = []             # what verify finds
        self.damage = {}               # digest -> (bad bytes, what is wrong)
        self.verified = {}             # digest -> when
        self.boot_trace = None         # of every version
        self.pins = []                 # digests
        self.repair = None             # what repair has done; cleared with all damage then
        self.fail_reset = None
        self.both_bytes = 12288        # what a comparison finds that both changed
        self.garbage_tasks = {}        # digest -> tasks that ended with it, as GET /gc says
        self.garbage_asked = []        # bodies of POST /gc
        self.garbage_looks = 0         # how often GET /gc was asked
        self.refuse_deletions = False  # of versions
        self.deletions_asked = []      # digests of DELETE /versions
        self.garbage_kept = []         # what POST /gc says could not go
        self.both_partitions = []
        self.usage_asked = []          # queries of GET /links/{id}/usage
        self.usage_refused = None      # (status, kind, detail) of the next one
        self.bad_overlay_bytes = 0     # that a look at an overlay finds
        self.usage_changes = {}        # members that its answer has otherwise
        self.target_id = str(uuid.uuid4())
        self.registry = None           # {"id", "mark"} that it follows
        self.trash = {}                # id -> entry, as GET /trash shows it

    def routes(self):
        uuid, name, digest = "([0-9a-f-]{36})", "([^/]+)", "([0-9a-f]{64})"
        return [
            ("GET", "/status", self.get_status), ("GET", "/events", self.get_events),
            ("GET", "/registry", self.get_registry), ("PUT", "/registry", self.put_registry),
            ("GET", "/trash", self.get_trash), ("DELETE", f"/trash/{uuid}", self.delete_trash),
            ("POST", f"/trash/{uuid}/restore", self.restore_trash),
            ("GET", "/links", self.get_links), ("GET", f"/links/{uuid}", self.get_link),
            ("PUT", "/pins", self.put_pins), ("PUT", f"/links/{uuid}", self.put_link), ("DELETE", f"/links/{uuid}", self.delete_link),
            ("POST", f"/links/{uuid}/reset", self.reset_link), ("POST", f"/links/{uuid}/commit", self.commit_link),
            ("POST", f"/links/{uuid}/save", self.save_link),
            ("POST", f"/links/{uuid}/salvage", self.salvage_link), ("POST", f"/links/{uuid}/verify", self.verify_link), ("POST", f"/links/{uuid}/compare", self.compare_link),
            ("POST", f"/links/{uuid}/rebase", self.rebase_link), ("GET", f"/links/{uuid}/usage", self.get_usage),
            ("POST", f"/versions/{digest}/grow", self.grow_version),
            ("PUT", f"/uploads/{name}", self.put_upload), ("PUT", f"/uploads/{name}/{name}", self.append_upload),
            ("GET", f"/uploads/{name}", self.get_upload), ("GET", f"/exports/{uuid}", self.get_export),
            ("HEAD", f"/exports/{uuid}", self.get_export), ("DELETE", f"/exports/{uuid}", self.delete_export),
            ("POST", f"/versions/{digest}/export", self.export_version),
            ("GET", f"/versions/{digest}/manifest", self.get_manifest),
            ("HEAD", f"/versions/{digest}/manifest", self.get_manifest),
            ("POST", f"/versions/{digest}/chunks", self.get_chunks),
            ("POST", f"/transfers/{uuid}/missing", self.ask_missing), ("PUT", f"/transfers/{uuid}/chunks", self.put_chunks),
            ("POST", f"/transfers/{uuid}/finish", self.finish_transfer), ("DELETE", f"/transfers/{uuid}", self.drop_transfer),
            ("DELETE", f"/uploads/{name}", self.delete_upload),
            ("POST", "/imports", self.post_import), ("GET", f"/imports/{uuid}", self.get_import),
            ("DELETE", f"/imports/{uuid}", self.delete_import),
            ("GET", "/versions", self.get_versions), ("GET", "/gc", self.get_garbage), ("POST", "/gc", self.post_garbage),
            ("POST", f"/versions/{digest}/verify", self.verify_version),
            ("POST", f"/versions/{digest}/prewarm", self.prewarm_version),
            ("POST", f"/versions/{digest}/repair", self.repair_version),
            ("DELETE", f"/versions/{digest}", self.delete_version),
        ]

    def get_status(self, query, request):
        with self.lock:
            return 200, {"version": "0.1.0", "target_id": self.target_id, "portals": [self.portal], "revision": self.revision,
                         "links": len(self.links), "sessions": 0, "store": {"free_bytes": 1 << 40},
                         "overlay": {"free_bytes": 1 << 39}, "io": "threads", "uptime_seconds": 1, "problems": self.problems}

    def _shown(self, link):
        return {**link, "generation": link.get("generation", 1), "pending_generation": None,
                "sessions": link.get("sessions", []),
                "overlay": {"used_bytes": 4096, "quota_bytes": None, "ram_bytes": 0},
                "running": [{"lun": disk["lun"], "version": disk["version"], "policy": disk["policy"],
                             "overlay": None if disk.get("type") == "cdrom" else {"used_bytes": 4096 * disk["lun"], "quota_bytes": disk["quota_bytes"] or 1 << 30,
                                         "ram_bytes": 0, "journal_bytes": 0}} for disk in link["disks"]],
                "ready": link.get("ready", True), "problem": link.get("problem")}

    def _link(self, link_id):
        if link_id not in self.links:
            raise Refused(404, "not-found", f"no link {link_id}")
        return self.links[link_id]

    def get_links(self, query, request):
        with self.lock:
            return 200, {"links": [self._shown(link) for link in self.links.values()]}

    def get_link(self, link_id, query, request):
        with self.lock:
            return 200, self._shown(self._link(link_id))

    def put_link(self, link_id, query, request):
        body = request.body_json()
        with self.lock:
            if self.link_refusal:
                raise Refused(*self.link_refusal)
            if body["revision"] < self.revision:
                raise Refused(409, "stale-revision", f"{body['revision']} is older than {self.revision}")
            for disk in body["disks"]:
                if disk["version"] not in self.versions:
                    raise Refused(404, "not-found", f"no version {disk['version']}")
            self.revision = body["revision"]
            self.links[link_id] = {**self.links.get(link_id, {}), **body}
            return 200, self._shown(self.links[link_id])

    def delete_link(self, link_id, query, request):
        with self.lock:
            link = self._link(link_id)
            if int(query.get("revision", 1 << 62)) < link.get("revision", 0):
                raise Refused(409, "stale-revision", f"link {link_id} is later")
            kept = [disk for disk in link.get("disks", []) if disk["policy"] != "discard"]
            if kept and query.get("trash") != "false":
                entry = str(uuid.uuid4())
                self.trash[entry] = {
                    "id": entry, "link_id": link_id, "why": "its link was removed", "removed_at": int(time.time()),
                    "expires_at": int(time.time()) + 7 * 86400, "bytes": 4096, "restorable": True, "iqn": link["iqn"],
                    "alias": link["alias"], "problem": None,
                    "disks": [{"lun": disk["lun"], "version": disk["version"], "policy": disk["policy"], "type": "disk",
                               "logical_block_bytes": disk["logical_block_bytes"], "quota_bytes": disk["quota_bytes"],
                               "kept": disk in kept} for disk in link["disks"]],
                    "_link": link}
            del self.links[link_id]
            return 204, None

    def _registry(self):
        return {"target_id": self.target_id, "registry": self.registry, "revision": self.revision, "links": len(self.links)}

    def get_registry(self, query, request):
        with self.lock:
            return 200, self._registry()

    def put_registry(self, query, request):
        offer = request.body_json()
        with self.lock:
            match, known = "own", self.registry
            if known and not offer["adopt"]:
                if known["id"] != offer["id"]:
                    match = "other"
                elif known["mark"] not in (offer["mark"], offer["previous_mark"]) or offer["revision"] < self.revision:
                    match = "older"
            if match == "own":
                self.registry = {"id": offer["id"], "mark": offer["mark"]}
            return 200, {**self._registry(), "match": match}

    def get_trash(self, query, request):
        with self.lock:
            return 200, {"entries": [{key: value for key, value in entry.items() if key != "_link"}
                                     for entry in self.trash.values()], "keep_seconds": 7 * 86400}

    def _entry(self, entry_id):
        if entry_id not in self.trash:
            raise Refused(404, "not-found", f"the trash has no entry {entry_id}")
        return self.trash[entry_id]

    def delete_trash(self, entry_id, query, request):
        with self.lock:
            self._entry(entry_id)
            del self.trash[entry_id]
            return 204, None

    def restore_trash(self, entry_id, query, request):
        with self.lock:
            link = self._entry(entry_id)["_link"]
            if link["id"] in self.links:
                raise Refused(409, "link-exists", f"link {link['id']} is there")
            self.links[link["id"]] = link
            del self.trash[entry_id]
            return 200, self._shown(link)

    def reset_link(self, link_id, query, request):
        body = request.body_json()
        with self.lock:
            link = self._link(link_id)
            if link.get("sessions") and not body.get("force"):
                raise Refused(409, "link-in-use", f"link {link_id} has a session")
            link["resets"] = link.get("resets", 0) + 1
            link["reset_lun"] = body.get("lun")
            return 200, self._shown(link)

    def put_upload(self, name, query, request):
        if self.upload_refusal:
            request.close_connection = True
            raise Refused(*self.upload_refusal)
        digest, size = hashlib.sha256(), 0
        try:
            for data in request.body_chunks():
                digest.update(data)
                size += len(data)
        except ConnectionResetError:
            request.close_connection = True
            raise Refused(400, "upload-cut-off", "cut off") from None
        with self.lock:
            self.uploads[name] = (digest.hexdigest(), size)
        return 200, {"bytes": size}

    def append_upload(self, name, file, query, request):
        with self.lock:
            content = self.sets.setdefault(name, {}).setdefault(urllib.parse.unquote(file), bytearray())
        if len(content) != int(query["offset"]):
            request.close_connection = True
            raise Refused(409, "conflict", f"{len(content)} bytes have arrived")
        try:
            for data in request.body_chunks():
                content += data
        except ConnectionResetError:
            request.close_connection = True
            raise Refused(400, "upload-cut-off", "cut off") from None
        return 200, {"bytes": len(content)}

    def get_upload(self, name, query, request):
        with self.lock:
            return 200, {"files": [{"name": file, "bytes": len(content)}
                                   for file, content in self.sets.get(name, {}).items()]}

    def export_version(self, digest, query, request):
        body = request.body_json()
        with self.lock:
            content = f"{digest} as {body['format']}".encode()
            self.exports[body["id"]] = content
            self.imports[body["id"]] = {"id": body["id"], "state": "running", "done_bytes": 0, "total_bytes": 10,
                                        "error": None, "_export": {"bytes": len(content), "format": body["format"],
                                                                      "sha256": hashlib.sha256(content).hexdigest()}}
            return 202, {"id": body["id"]}

    def body_bytes(self, request):
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))

    def get_manifest(self, digest, query, request):
        return 200, b"manifest of " + digest.encode()

    def get_chunks(self, digest, query, request):
        body = self.body_bytes(request)
        if "identity" in query.get("encoding", ""):
            return 200, b"".join(body[at:at + 1] * 65536 for at in range(0, len(body), 32))
        return 200, b"frame of " + body

    def ask_missing(self, transfer_id, query, request):
        count = len(self.body_bytes(request)) // 32
        return 200, bytes(index % 2 for index in range(count))

    def put_chunks(self, transfer_id, query, request):
        body = self.body_bytes(request)
        if body == b"bad":
            raise Refused(400, "invalid", "the body is no zstd frame")
        with self.lock:
            self.chunks = getattr(self, "chunks", {})
            self.chunks.setdefault(transfer_id, []).append(body)
        return 200, {"bytes": len(body) if "identity" in query.get("encoding", "") else 65536}

    def finish_transfer(self, transfer_id, query, request):
        body = request.body_json()
        with self.lock:
            if transfer_id not in getattr(self, "chunks", {}):
                raise Refused(409, "conflict", "1 chunks of the version are missing here")
            _, size = self.uploads.pop(body["upload"])
            if body.get("repair"):
                if body["digest"] not in self.versions:
                    raise Refused(404, "not-found", "the image store has no such version")
                mended = len(self.chunks.pop(transfer_id))
                return 200, {"bad_chunks": 3, "mended_chunks": mended, "manifest_mended": False}
            version = {"digest": body["digest"], "size_bytes": size, "stored_bytes": 65536, "unique_bytes": 65536}
            self.versions[body["digest"]] = version
            return 200, version

    def drop_transfer(self, transfer_id, query, request):
        getattr(self, "chunks", {}).pop(transfer_id, None)
        return 204, None

    def get_export(self, task_id, query, request):
        with self.lock:
            if task_id not in self.exports:
                raise Refused(404, "not-found", f"no export {task_id}")
            first = re.fullmatch("bytes=([0-9]+)-", request.headers.get("Range", "bytes=0-"))[1]
            return 200, self.exports[task_id][int(first):]

    def delete_export(self, task_id, query, request):
        with self.lock:
            self.exports.pop(task_id, None)
        return 204, None

    def delete_upload(self, name, query, request):
        with self.lock:
            if self.sets.pop(name, None) is not None:
                return 204, None
            if self.uploads.pop(name, None) is None:
                raise Refused(404, "not-found", f"no upload {name}")
        return 204, None

    def post_import(self, query, request):
        body = request.body_json()
        with self.lock:
            if "blank_bytes" in body:
                digest, size = hashlib.sha256(b"blank %d" % body["blank_bytes"]).hexdigest(), body["blank_bytes"]
            elif "server_path" in body:
                digest, size = hashlib.sha256(json.dumps(body).encode()).hexdigest(), 10
                self.server_imports = getattr(self, "server_imports", []) + [body]
            elif "file" in body:
                content = bytes(self.sets[body["upload"]][body["file"]])
                digest, size = hashlib.sha256(content).hexdigest(), len(content)
                if body.get("sha256", {}).get(body["file"], digest) != digest:
                    raise Refused(500, "corrupt", "it did not arrive as it was sent")
            elif body["upload"] not in self.uploads:
                raise Refused(404, "not-found", f"no upload {body['upload']}")
            else:
                digest, size = self.uploads[body["upload"]]
            self.imports.setdefault(body["id"], {"id": body["id"], "state": "running", "done_bytes": 0,
                                                 "total_bytes": 0 if "blank_bytes" in body else size,
                                                 "error": None, "version": None, "_size": size, "_digest": digest, "_format": body.get("format")})
            return 202, {"id": body["id"]}

    def commit_link(self, link_id, query, request):
        body = request.body_json()
        with self.lock:
            self._link(link_id)["commit_lun"] = body.get("lun")
            digest = hashlib.sha256(f"{link_id}{time.time()}".encode()).hexdigest()
            self.imports.setdefault(body["id"], {"id": body["id"], "state": "running", "done_bytes": 0,
                                                 "total_bytes": 1 << 20, "error": None, "version": None,
                                                 "_digest": digest})
            return 202, {"id": body["id"]}

    def save_link(self, link_id, query, request):
        body = request.body_json()
        with self.lock:
            link = self._link(link_id)
            lun = body.get("lun", 0)
            base = next(disk["version"] for disk in link["disks"] if disk["lun"] == lun)
            digest = hashlib.sha256(f"{link_id}{time.time()}".encode()).hexdigest()
            self.imports.setdefault(body["id"], {"id": body["id"], "state": "running", "done_bytes": 0,
                                                 "total_bytes": 1 << 20, "error": None, "version": None,
                                                 "base": link.get("runs_on", base), "live": bool(link.get("sessions")),
                                                 "_digest": digest})
            return 202, {"id": body["id"]}

    def salvage_link(self, link_id, query, request):
        answer = self.save_link(link_id, query, request)
        with self.lock:
            self.imports[answer[1]["id"]]["salvage"] = {
                "lun": 0, "bad_records": 1, "lost_bytes": 4096, "doubtful_bytes": 8192,
                "lost": [{"offset_bytes": 8192, "length_bytes": 4096}], "doubtful": [{"offset_bytes": 65536, "length_bytes": 8192}]}
        return answer

    def verify_link(self, link_id, query, request):
        body = request.body_json()
        with self.lock:
            self._link(link_id)
            self.imports.setdefault(body["id"], {
                "id": body["id"], "state": "running", "done_bytes": 0, "total_bytes": 1 << 20, "error": None, "version": None,
                "check": {"lun": body.get("lun", 0), "checked_bytes": 1 << 20, "bad_bytes": self.bad_overlay_bytes,
                          "bad": [{"offset_bytes": 4096, "length_bytes": self.bad_overlay_bytes}] if self.bad_overlay_bytes else []}})
            return 202, {"id": body["id"]}

    def compare_link(self, link_id, query, request):
        body = request.body_json()
        with self.lock:
            link = self._link(link_id)
            base = next(disk["version"] for disk in link["disks"] if disk["lun"] == body["lun"])
            self.compared = (base, body["version"])
            return 200, {"base": base, "version": body["version"], "mine_bytes": 20480, "theirs_bytes": 65536,
                         "both_bytes": self.both_bytes, "range_count": 2 if self.both_bytes else 0, "exact": True,
                         "partitions": self.both_partitions,
                         "ranges": [] if not self.both_bytes else [{"offset_bytes": 4096, "length_bytes": 8192}, {"offset_bytes": 65536, "length_bytes": 4096}]}

    def rebase_link(self, link_id, query, request):
        body = request.body_json()
        with self.lock:
            link = self._link(link_id)
            self.rebased = {key: value for key, value in body.items() if key != "id"}
            for disk in link["disks"]:
                if disk["lun"] == body["lun"]:
                    disk["version"] = body["version"]
            self.imports.setdefault(body["id"], {
                "id": body["id"], "state": "running", "done_bytes": 0, "total_bytes": 0, "error": None,
                "_rebase": {"from": body["from"], "version": body["version"], "take": body["take"], "already": False,
                            "mine_bytes": 20480, "theirs_bytes": 65536, "both_bytes": self.both_bytes}})
            return 202, {"id": body["id"]}

    def get_usage(self, link_id, query, request):
        with self.lock:
            link = self._link(link_id)
            self.usage_asked.append(query)
            refused, self.usage_refused = self.usage_refused, None
            if refused:
                raise Refused(*refused)
            files = [{"path": "/pagefile.sys", "written_bytes": 8192, "size_bytes": 1 << 30},
                     {"path": "/Users/J\u00fcrgen/save.dat", "written_bytes": 4096, "size_bytes": 100}]
            windows = {"number": 2, "offset_bytes": 1 << 20, "length_bytes": 1 << 30, "written_bytes": 20480, "file_system": "NTFS",
                       "readable": True, "problem": None, "file_bytes": 12288, "metadata_bytes": 4096, "free_bytes": 4096,
                       "other_bytes": 0, "file_count": 2, "files": files}
            locked = {**windows, "number": None, "written_bytes": 0, "file_system": "BitLocker", "readable": False,
                      "problem": "files can be told of NTFS only", "file_bytes": 0, "metadata_bytes": 0, "free_bytes": 0,
                      "file_count": 0, "files": []}
            return 200, {"lun": 0, "version": link["disks"][0]["version"], "live": bool(link.get("sessions")), "disk_bytes": 1 << 31,
                         "used_bytes": 24576, "outside_bytes": 4096, "partitions": [windows, locked], "complete": True, "why": None,
                         **self.usage_changes}

    def grow_version(self, digest, query, request):
        body = request.body_json()
        with self.lock:
            if digest not in self.versions:
                raise Refused(404, "not-found", f"no version {digest}")
            grown = hashlib.sha256(f"{digest}{body['size_bytes']}".encode()).hexdigest()
            self.imports.setdefault(body["id"], {"id": body["id"], "state": "running", "done_bytes": 0,
                                                 "total_bytes": 10, "error": None, "version": None,
                                                 "_size": body["size_bytes"], "_digest": grown})
            return 202, {"id": body["id"]}

    def verify_version(self, digest, query, request):
        body = request.body_json()
        with self.lock:
            if digest not in self.versions:
                raise Refused(404, "not-found", f"no version {digest}")
            self.imports.setdefault(body["id"], {"id": body["id"], "state": "running", "done_bytes": 0,
                                                 "total_bytes": 10, "error": None, "version": None,
                                                 "findings": None, "_findings": list(self.findings)})
            return 202, {"id": body["id"]}

    def prewarm_version(self, digest, query, request):
        body = request.body_json()
        with self.lock:
            if digest not in self.versions:
                raise Refused(404, "not-found", f"no version {digest}")
            task = {"id": body["id"], "state": "running", "done_bytes": 0, "total_bytes": 1 << 20, "error": None,
                    "version": None}
            if self.boot_trace is None:
                task.update(state="failed", error={"kind": "not_found", "message": "no boot was recorded yet"})
            else:
                task["prewarmed_bytes"] = self.boot_trace["bytes"]
            self.imports.setdefault(body["id"], task)
            return 202, {"id": body["id"]}

    def get_versions(self, query, request):
        with self.lock:
            return 200, [{**version, "open": False, "verified_at": self.verified.get(digest),
                          "bad_bytes": self.damage.get(digest, (0, None))[0],
                          "damage": self.damage.get(digest, (0, None))[1],
                          "reads": {"cache_hits": 0, "cache_misses": 0}, "boot_trace": self.boot_trace,
                          "pin": {"wanted_bytes": 1 << 20, "pinned_bytes": 1 << 16, "problem": None}
                          if digest in self.pins else None}
                         for digest, version in self.versions.items()]

    def put_pins(self, query, request):
        with self.lock:
            self.pins = request.body_json()["versions"]
        return 204, None

    def repair_version(self, digest, query, request):
        body = request.body_json()
        with self.lock:
            if digest not in self.versions:
                raise Refused(404, "not-found", f"no version {digest}")
            if body["upload"] not in self.uploads:
                raise Refused(404, "not-found", f"no upload {body['upload']}")
            self.imports.setdefault(body["id"], {"id": body["id"], "state": "running", "done_bytes": 0,
                                                 "total_bytes": 10, "error": None, "_repair": dict(self.repair),
                                                 "_format": body.get("format")})
            return 202, {"id": body["id"]}

    def _used(self, digest):
        return any(disk["version"] == digest for link in self.links.values() for disk in link["disks"])

    def get_garbage(self, query, request):
        with self.lock:
            self.garbage_looks += 1
            return 200, {"mark": "mark:1",
                         "versions": [{"digest": digest, "size_bytes": version["size_bytes"],
                                       "unique_bytes": version["unique_bytes"], "tasks": self.garbage_tasks.get(digest, [])}
                                      for digest, version in self.versions.items() if not self._used(digest)],
                         "uploads": [{"name": name, "bytes": size} for name, (_, size) in self.uploads.items()]}

    def post_garbage(self, query, request):
        body = request.body_json()
        with self.lock:
            self.garbage_asked.append(body)
            items = [{"kind": "version", "name": digest, "bytes": self.versions[digest]["unique_bytes"],
                      "own_bytes": self.versions[digest]["unique_bytes"], "reason": "nobody wants it"}
                     for digest in body["versions"] if digest in self.versions]
            items += [{"kind": "upload", "name": name, "bytes": self.uploads[name][1], "own_bytes": None,
                       "reason": "no task waits for it"} for name in body["uploads"] if name in self.uploads]
            report = {"items": items, "kept": self.garbage_kept, "bytes": sum(item["bytes"] for item in items)}
            if body.get("dry_run"):
                return 200, report
            self.imports.setdefault(body["id"], {"id": body["id"], "state": "running", "done_bytes": 0,
                                                 "total_bytes": report["bytes"], "error": None, "_gc": report})
            return 202, {"id": body["id"]}

    def get_import(self, import_id, query, request):
        with self.lock:
            task = self.imports.get(import_id)
            if task is None:
                raise Refused(404, "not-found", f"no import {import_id}")
            if task["state"] == "running" and not self.hold_imports:
                self._finish(task)
            return 200, {key: value for key, value in task.items() if not key.startswith("_")}

    def _finish(self, task):
        if self.import_error:
            task.update(state="failed", error={"kind": "invalid", "message": self.import_error})
            return
        task.update(state="done", done_bytes=task["total_bytes"])
        if "_export" in task:
            task["export"] = task["_export"]
            return
        if "_rebase" in task:
            task["rebase"] = task["_rebase"]
            return
        if "_gc" in task:
            task["gc"] = task["_gc"]
            for item in task["gc"]["items"]:
                (self.versions if item["kind"] == "version" else self.uploads).pop(item["name"], None)
            return
        if "_findings" in task:
            task["findings"] = task["_findings"]
            return
        if "check" in task:
            return
        if "_repair" in task:
            task["repair"] = task["_repair"]
            self.damage.clear()
            return
        size = task.get("_size", task["total_bytes"])
        version = {"digest": task["_digest"], "size_bytes": size, "stored_bytes": task["total_bytes"] // 2,
                   "unique_bytes": task["total_bytes"] // 2}
        self.versions[version["digest"]] = version
        task["version"] = version

    def delete_import(self, import_id, query, request):
        with self.lock:
            task = self.imports.get(import_id)
            if task is None:
                raise Refused(404, "not-found", f"no import {import_id}")
            if task["state"] == "running":
                task["state"] = "cancelled"
            else:
                del self.imports[import_id]
            return 204, None

    def delete_version(self, digest, query, request):
        with self.lock:
            if digest not in self.versions:
                raise Refused(404, "not-found", f"no version {digest}")
            self.deletions_asked.append(digest)
            if self.refuse_deletions or self._used(digest):
                raise Refused(409, "version-in-use", "a link uses it")
            del self.versions[digest]
            return 204, None


class FakePxe(FakeDaemon):
    def __init__(self, socket_path):
        super().__init__(socket_path)
        self.table = {"revision": 0, "settings": {}, "clients": []}
        self.puts = 0

    def routes(self):
        return [("GET", "/status", self.get_status), ("GET", "/events", self.get_events),
                ("GET", "/table", self.get_table), ("PUT", "/table", self.put_table)]

    def get_status(self, query, request):
        with self.lock:
            return 200, {"version": "0.1.0", "revision": self.table["revision"], "uptime_seconds": 1, "problems": self.problems}

    def get_table(self, query, request):
        with self.lock:
            return 200, self.table

    def put_table(self, query, request):
        body = request.body_json()
        with self.lock:
            if body["revision"] < self.table["revision"]:
                raise Refused(409, "stale-revision", f"{body['revision']} is older than {self.table['revision']}")
            self.table = body
            self.puts += 1
            return 200, {"revision": body["revision"]}
