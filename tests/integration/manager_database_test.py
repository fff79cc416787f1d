"""The manager and its PostgreSQL: it starts without it, lives through its loss, migrates once, refuses
what it does not know, and shares a database with other managers."""

import concurrent.futures
import pathlib
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.fake_daemons import FakeTarget  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.proxy import FreezingProxy  # noqa: E402
from harness.processes import Api, wait_until  # noqa: E402
from manager_case import BASE, EventStream, ManagerCase, OwnServer, postgres  # noqa: E402


class OwnDatabase(OwnServer):
    """The server is stopped and started."""

    def setUp(self):
        super().setUp()
        if self.server.process is None:
            self.server.start()
        self.wait_up()

    def wait_up(self):
        wait_until(lambda: self.client(None).get("/health").json["database"] == "ok", "the database serves again", 60)

    def wait_down(self):
        return wait_until(lambda: (health := self.api.get("/health").json)["database"] != "ok" and health,
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
        with self.server.frozen():
            problem = self.check(self.api.get("/clients"), 503, "database-unavailable")
            self.assertIn("20 s", problem["detail"])
        self.wait_up()
        self.check(self.api.get("/clients"), 200)

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
        self.manager.stop()
        self.target.registry = None  # it follows the database that is to come
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
        health = wait_until(lambda: (h := self.client(token, address).get("/health").json)["database"] != "ok" and h, "refused")
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


class SeveralHosts(ManagerCase):
    """Two hosts in --database-url: when the first hangs, the second serves."""

    def frozen_host(self):
        """A way to the server that can be frozen, as a host of a database URL."""
        host = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-host-"))
        self.addCleanup(shutil.rmtree, host, ignore_errors=True)
        proxy = FreezingProxy(host / ".s.PGSQL.5432", postgres().folder / ".s.PGSQL.5432")
        self.addCleanup(proxy.close)
        return proxy, host

    def manager_on(self, host):
        self.manager.stop()
        url = self.database_url.replace(f"host={postgres().folder}", f"host={host},{postgres().folder}")
        manager, address, _ = self.start_manager(self.name, url)
        self.addCleanup(manager.stop)
        return self.client(self.token, address)

    def test_a_first_host_that_hangs_is_passed_over(self):
        proxy, host = self.frozen_host()
        proxy.freeze()
        api = self.manager_on(host)
        self.assertGreater(proxy.connections, 0)
        self.check(api.get("/clients"), 200)
        tried = proxy.connections
        self.check(self.client(None, api.address).get("/health"), 200)
        self.check(api.get("/clients"), 200)
        self.assertEqual(proxy.connections, tried, "the host that served last is tried first")

    def test_a_host_that_hangs_later_is_left(self):
        proxy, host = self.frozen_host()
        api = self.manager_on(host)
        self.check(api.get("/clients"), 200)
        proxy.freeze()
        wait_until(lambda: self.client(None, api.address).get("/health").status == 503, "the hang is seen")
        wait_until(lambda: api.get("/clients").status == 200, "the other host serves", 30)
        wait_until(lambda: self.client(None, api.address).get("/health").status == 200, "all is well", 30)


class SeveralManagers(ManagerCase):
    """Two managers on one database: one reconciles, the other takes over."""

    def leader(self):
        return postgres().sql("SELECT term, holder FROM goldlink.leadership", self.database)[0]

    def test_a_leader_that_is_cut_off_is_followed_and_acts_no_more(self):
        self.manager.stop()
        roads = pathlib.Path(tempfile.mkdtemp(prefix="goldlink-road-"))
        self.addCleanup(shutil.rmtree, roads, ignore_errors=True)
        to_database = FreezingProxy(roads / ".s.PGSQL.5432", postgres().folder / ".s.PGSQL.5432")
        to_target = FreezingProxy(roads / "target.sock", self.target.socket_path)
        for road in (to_database, to_target):
            self.addCleanup(road.close)
        real, self.target.socket_path = self.target.socket_path, roads / "target.sock"
        try:
            first, _, _ = self.start_manager("cut", self.database_url.replace(str(postgres().folder), str(roads)))
        finally:
            self.target.socket_path = real
        wait_until(lambda: f"process {first.pid}" in self.leader()[1], "the first leads")
        second, address, _ = self.start_manager("beside")
        self.addCleanup(second.stop)
        api = self.client(self.token, address)
        self.upload_by(api, self.name)
        term = int(self.leader()[0])

        to_database.freeze()
        # Within 15 s, on a machine that has the time.
        wait_until(lambda: f"process {second.pid}" in self.leader()[1], "the second takes over", 60)
        self.assertEqual(int(self.leader()[0]), term + 1)
        calls = to_target.connections
        self.check(api.post("/links", {"lease": "10m", "image": self.name}), 201)
        wait_until(lambda: "another manager" in first.log() or "cannot lead" in first.log() or "does not serve" in first.log(),
                   "the first notices")
        self.assertEqual(to_target.connections, calls, "the first calls the target no more")
        to_database.close()
        first.stop()

    def test_a_leader_that_stands_still_is_followed_and_does_not_come_back_as_one(self):
        self.manager.stop()
        first, _, _ = self.start_manager("still")
        wait_until(lambda: f"process {first.pid}" in self.leader()[1], "the first leads")
        second, address, _ = self.start_manager("moving")
        self.addCleanup(second.stop)
        api = self.client(self.token, address)
        self.upload_by(api, self.name)
        first.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: f"process {second.pid}" in self.leader()[1], "the second takes over", 60)
            self.check(api.post("/links", {"lease": "10m", "image": self.name}), 201)
        finally:
            first.process.send_signal(signal.SIGCONT)
        term = self.leader()[0]
        wait_until(lambda: "cannot lead" in first.log() or "does not serve" in first.log() or "another manager" in first.log(),
                   "the first notices")
        self.check(api.post("/links", {"lease": "10m", "image": self.name}), 201)
        self.assertEqual(self.leader()[0], term)
        first.stop()

    def test_a_leader_alone_writes_next_to_nothing_and_beats_for_those_who_wait(self):
        def beat():
            return int(postgres().sql("SELECT beat FROM goldlink.leadership", self.database)[0][0])
        self.manager.stop()
        alone, _, _ = self.start_manager("alone")
        self.addCleanup(alone.stop)
        wait_until(lambda: f"process {alone.pid}" in self.leader()[1], "it leads")
        began, first = time.monotonic(), beat()
        time.sleep(4)  # what is looked for is that nothing happens
        self.assertLessEqual(beat() - first, 1 + (time.monotonic() - began) // 10)
        second, _, _ = self.start_manager("waiting")
        self.addCleanup(second.stop)
        first = beat()
        wait_until(lambda: beat() >= first + 3, "it beats for the one who waits", 25)
        self.assertIn(f"process {alone.pid}", self.leader()[1])

    def test_a_lease_is_ready_only_where_it_is_served(self):
        if not self.manager.running():
            self.manager.start()
        self.upload(self.name)
        self.add_lease(self.name)
        other = FakeTarget(self.folder / "other.sock").start()
        self.addCleanup(other.stop)
        mine, type(self).target = self.target, other
        try:
            second, address, _ = self.start_manager("elsewhere")
        finally:
            type(self).target = mine
        self.addCleanup(second.stop)
        api = self.client(self.token, address)
        lease = self.check(api.post("/links", {"lease": "10m", "image": self.name}), 202)
        self.assertEqual(lease["state"], "pending")
        self.assertIn("does not have the link", lease["problem"])
        self.assertNotIn("ready", [link["state"] for link in api.get_all("/links")])
        self.assertEqual(self.check(self.api.get(f"/links/{lease['id']}"), 200)["state"], "ready")

    def upload_by(self, api, image):
        task = self.check(api.put(f"/images/{image}/content", b"x" * 4096), 202)
        wait_until(lambda: api.get(f"/tasks/{task['id']}").json["state"] == "done", "it is imported")

    def test_the_second_takes_over(self):
        if not self.manager.running():
            self.manager.start()
        wait_until(lambda: f"process {self.manager.pid}" in self.leader()[1], "the first leads")
        second, second_address, _ = self.start_manager("second")
        self.addCleanup(second.stop)
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
