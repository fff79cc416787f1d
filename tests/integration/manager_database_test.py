"""The manager and its PostgreSQL: it starts without it, lives through its loss, migrates once, refuses
what it does not know, and shares a database with other managers."""

import concurrent.futures
import os
import pathlib
import signal
import stat
import sys
import threading
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.postgres import Postgres  # noqa: E402
from harness.processes import Api, wait_until  # noqa: E402
from manager_case import BASE, EventStream, ManagerCase, postgres  # noqa: E402


class OwnDatabase(ManagerCase):
    """The server is the test's own, to be stopped and started."""

    @classmethod
    def setUpClass(cls):
        cls.server = Postgres().start()
        cls.addClassCleanup(cls.server.remove)
        super().setUpClass()
        # The manager of these tests lives on the server that they stop.
        cls.manager, cls.address, cls.token = cls.start_manager("own", cls.server.create_database("own"))
        cls.api = cls.client(cls.token)

    def setUp(self):
        super().setUp()
        if self.server.process is None:
            self.server.start()
        self.wait_up()

    def wait_up(self):
        wait_until(lambda: self.client(None).get("/health").json["database"] == "ok", "the database serves again", 60)

    def wait_down(self):
        return wait_until(lambda: (health := self.client(None).get("/health").json)["database"] != "ok" and health,
                          "health says that the database is down")

    def assert_says_so(self):
        for method, path, body in [("GET", "/clients", None), ("GET", "/whoami", None), ("GET", "/status", None),
                                   ("POST", "/images", {"name": "x"}), ("DELETE", "/images/x", None),
                                   ("PUT", "/images/x/content", b"x"), ("PATCH", "/clients/x", {})]:
            answer = self.api.request(method, path, body)
            problem = self.check(answer, 503, "database-unavailable")
            self.assertIn("new boots go on", problem["detail"])
            self.assertIn("Retry-After", answer.headers)

    def test_stopped_and_started_underneath(self):
        self.upload(self.name)
        lease = self.add_lease(self.name)
        links_before = dict(self.target.links)
        self.server.stop()
        health = self.wait_down()
        self.assertEqual((health["status"], health["target"], health["pxe"]), ("degraded", "ok", "ok"))
        self.assertIn("PostgreSQL", health["database"])
        self.assert_says_so()
        self.assertEqual(self.target.links, links_before, "what is served stays as it is")
        self.check(self.client(None).get("/openapi.json"), 200)
        self.server.start()
        self.wait_up()
        self.assertEqual(self.check(self.api.get(f"/links/{lease['id']}"), 200)["state"], "ready")
        self.add_lease(self.name)

    def test_killed_under_load(self):
        failures, stop = [], threading.Event()

        def load(worker):
            api, number = self.client(self.token), 0
            while not stop.is_set():
                number += 1
                answer = api.post("/clients", {"name": f"{self.name}-{worker}-{number}", "macs": [self.random_mac()]})
                if answer.status not in (201, 503):
                    failures.append(answer)
            return number

        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            workers = [threads.submit(load, worker) for worker in range(4)]
            wait_until(lambda: len(self.api.get_all("/clients?limit=1000")) > 20, "clients are added")
            self.server.kill()
            self.wait_down()
            self.server.start()
            self.wait_up()
            count = len(self.api.get_all("/clients?limit=1000"))
            wait_until(lambda: len(self.api.get_all("/clients?limit=1000")) > count + 5, "the load goes on by itself")
            stop.set()
            for worker in workers:
                worker.result()
        self.assertEqual(failures, [])

    def test_a_server_that_hangs_is_one_that_is_down(self):
        self.check(self.api.get("/clients"), 200)  # leaves a connection to find hanging
        postmaster = self.server.process.pid
        children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and self._parent(pid) == postmaster]
        for pid in (postmaster, *children):
            os.kill(pid, signal.SIGSTOP)
        try:
            problem = self.check(self.api.get("/clients"), 503, "database-unavailable")
            self.assertIn("20 s", problem["detail"])
        finally:
            for pid in (*children, postmaster):
                os.kill(pid, signal.SIGCONT)
        self.wait_up()
        self.check(self.api.get("/clients"), 200)

    @staticmethod
    def _parent(pid):
        try:
            return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            return None

    def test_events_go_on_where_they_were(self):
        stream = EventStream(self.api)
        self.addCleanup(stream.close)
        self.server.stop()
        self.wait_down()
        self.target.add_event("login_refused", link_id=None, boot_id=None, generation=None, data={"why": self.name})
        self.server.start()
        wait_until(lambda: any(event["data"].get("why") == self.name for event in stream.events),
                   "the same stream brings what happened meanwhile")

    def test_an_upload_survives_a_short_outage(self):
        host, port = self.address.removeprefix("http://").split(":")
        import socket
        content = b"y" * 100_000
        with socket.create_connection((host, int(port))) as peer:
            peer.sendall(f"PUT {BASE}/images/{self.name}/content HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                         f"Content-Length: {len(content)}\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode() + content[:50_000])
            wait_until(lambda: self.api.get(f"/images/{self.name}").status == 200, "the upload is noted")
            self.server.stop()
            self.wait_down()
            self.server.start()
            self.wait_up()
            peer.sendall(content[50_000:])
            answer = peer.recv(65536)
        self.assertIn(b" 202 ", answer.split(b"\r\n")[0])
        wait_until(lambda: self.api.get(f"/images/{self.name}").json["channels"] == {"production": 1}, "it is imported")


class Starting(ManagerCase):
    def test_serves_health_before_the_database_is_there(self):
        server = Postgres()
        self.addCleanup(server.remove)
        manager, address, token = self.start_manager("early", server.url("early"))
        self.assertIsNone(token)
        api = self.client(None, address)
        health = self.check(api.get("/health"), 503)
        self.assertNotEqual(health["database"], "ok")
        self.check(self.client("gl_any", address).get("/whoami"), 503, "database-unavailable")
        server.start()
        server.create_database("early")
        wait_until(lambda: api.get("/health").status == 200, "it brings the database up by itself", 60)
        token = (self.folder / "early" / "admin-token").read_text().strip()
        self.assertEqual(self.client(token, address).get("/whoami").json["role"], "admin")
        manager.stop()

    def test_the_admin_token_is_kept_and_made_anew_only_when_it_is_no_good(self):
        url = postgres().create_database("tokens")
        manager, address, token = self.start_manager("tokens", url)
        path = self.folder / "tokens" / "admin-token"
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        manager.stop()
        manager, address, again = self.start_manager("tokens", url)
        self.assertEqual(again, token)
        self.assertEqual(len(self.client(token, address).get_all("/tokens")), 1)
        manager.stop()
        path.write_text("gl_wrong\n")
        manager, address, other = self.start_manager("tokens", url)
        self.assertNotIn(other, (token, "gl_wrong"))
        self.check(self.client(other, address).get("/whoami"), 200)
        self.check(self.client(token, address).get("/whoami"), 200)
        manager.stop()

    def test_tokens_are_kept_as_hashes_only(self):
        rows = postgres().sql("SELECT * FROM goldlink.tokens", self.database)
        self.assertTrue(rows)
        self.assertNotIn(self.token, str(rows))

    def test_migrations_are_applied_once_by_managers_that_start_together(self):
        url = postgres().create_database("together")
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            managers = list(threads.map(lambda i: self.start_manager(f"together{i}", url), range(3)))
        for _, address, token in managers:
            self.check(self.client(token, address).get("/clients"), 200)
        rows = postgres().sql("SELECT number, name FROM goldlink.goldlink_migrations ORDER BY number", "together")
        self.assertEqual(rows[0], ["1", "0001_registry.sql"])
        self.assertEqual(len(rows), len({row[0] for row in rows}))
        for manager, _, _ in managers:
            manager.stop()

    def refuses_database(self, name, change, words):
        url = postgres().create_database(name)
        manager, _, _ = self.start_manager(name, url)
        manager.stop()
        postgres().sql(change, name)
        manager, address, token = self.start_manager(name, url)
        health = wait_until(lambda: (h := self.client(None, address).get("/health").json)["database"] != "ok" and h, "refused")
        self.assertIn(words, health["database"])
        self.check(self.client(token, address).get("/clients"), 503, "database-unavailable")
        manager.stop()

    def test_a_changed_migration_is_refused(self):
        self.refuses_database("changed", "UPDATE goldlink.goldlink_migrations SET sha256 = repeat('0', 64)", "another content")

    def test_a_newer_database_is_refused(self):
        self.refuses_database("newer", "INSERT INTO goldlink.goldlink_migrations (number, name, sha256)"
                                       " VALUES (9999, '9999_future.sql', repeat('0', 64))", "newer than this goldlink-manager")

    def test_bad_options_end_it_with_a_message(self):
        from harness.processes import Daemon
        folder = self.folder / "bad"
        folder.mkdir()
        for arguments, words in [([], "database-url"),
                                 (["--database-url", "host=x", "--listen", "nowhere:x"], "nowhere"),
                                 (["--database-url", "host=/none", "--state-dir", "/proc/none", "--listen", "127.0.0.1:0"], "/proc/none")]:
            arguments = arguments if "--state-dir" in arguments else [*arguments, "--state-dir", folder / "state"]
            daemon = Daemon("goldlink-manager", arguments, folder)
            daemon.start(wait_ready=False)
            self.assertNotEqual(daemon.wait(), 0)
            self.assertIn(words, daemon.log())


class SeveralManagers(ManagerCase):
    """Two managers on one database: one reconciles, the other takes over."""

    def test_the_second_takes_over(self):
        second, second_address, _ = self.start_manager("second")
        api = self.client(self.token, second_address)
        self.upload(self.name)
        self.check(api.post("/links", {"lease": "10m", "image": self.name}), 201)
        self.manager.kill()
        lease = wait_until(lambda: (answer := api.post("/links", {"lease": "10m", "image": self.name})).status == 201
                           and answer.json, "the second manager reconciles", 60)
        self.assertIn(lease["id"], self.target.links)
        number = self.target.add_event("login_refused", link_id=None, boot_id=None, generation=None, data={"why": "x"})
        wait_until(lambda: any(e["kind"] == "login_refused" for e in api.get("/events?limit=1000").json["items"]),
                   f"the second manager collects event {number}")


if __name__ == "__main__":
    unittest.main()
