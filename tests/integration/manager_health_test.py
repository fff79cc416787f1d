"""/health, /status, `goldlink status` and links tell the truth, and in time, whatever hangs or is used up."""

import concurrent.futures
import contextlib
import pathlib
import sys
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.processes import Api, wait_until  # noqa: E402
from harness.up import run_cli  # noqa: E402
from manager_case import ManagerCase, OwnServer  # noqa: E402

BOUND_SECONDS = 15  # 2 s, and what a loaded machine adds; what hangs would take 30 and more


class HealthCase(ManagerCase):
    def setUp(self):
        super().setUp()
        self.wait_health(200)

    def wait_health(self, status):
        return wait_until(lambda: (answer := self.api.get("/health")).status == status and answer.json,
                          f"health answers {status}", 60)

    def in_time(self, call):
        began = time.monotonic()
        answer = call()
        self.assertLess(time.monotonic() - began, BOUND_SECONDS, answer)
        return answer

    def degraded(self, source, status=503):
        """What /health says now, in time, and of that what is wrong with `source`."""
        health = self.check(self.in_time(lambda: self.api.get("/health")), status)
        self.assertEqual(health["status"], "degraded")
        found = [problem for problem in health["problems"] if problem["source"] == source]
        self.assertTrue(found, health)
        self.assertTrue(all(problem["problem"] and problem["to_do"] for problem in health["problems"]), health)
        return health, found[0]

    def cli_says(self, *words):
        done = self.in_time(lambda: run_cli("status", url=self.address, token=self.token))
        self.assertEqual(done.code, 1, done)
        for word in words:
            self.assertIn(word, done.out)


class Daemons(HealthCase):
    @contextlib.contextmanager
    def hung(self, daemon):
        daemon.answers.clear()
        try:
            yield
        finally:
            daemon.answers.set()

    def test_a_target_that_hangs_is_said_in_time(self):
        self.upload(self.name)
        lease = self.add_lease(self.name)
        with self.hung(self.target):
            wait_until(lambda: self.client(None).get("/health").status == 503, "the hang is seen")
            health, problem = self.degraded("target")
            self.assertIn("does not answer", health["target"])
            self.assertIn("no disk is served", problem["to_do"])
            status = self.check(self.in_time(lambda: self.api.get("/status")), 200)
            self.assertEqual((status["health"], status["portal"]), ("degraded", self.target.portal))
            self.assertIn("does not answer", status["target"]["problem"])
            self.cli_says("degraded", "problem   target: ", "to do   ")
            shown = self.check(self.api.get(f"/links/{lease['id']}"), 200)
            self.assertEqual(shown["state"], "pending")
            self.assertIn("not known", shown["problem"])
        self.wait_health(200)
        self.assertEqual(self.check(self.api.get(f"/links/{lease['id']}"), 200)["state"], "ready")

    def test_a_pxe_that_hangs_is_said_in_time(self):
        with self.hung(self.pxe):
            wait_until(lambda: self.client(None).get("/health").status == 503, "the hang is seen")
            health, problem = self.degraded("pxe")
            self.assertEqual((health["target"], health["database"]), ("ok", "ok"))
            self.assertIn("no PC starts", problem["to_do"])

    def test_what_the_target_says_is_wrong_is_passed_on(self):
        self.target.problems = [{"area": "storage", "message": "storage could not keep it", "advice": "see dmesg"}]
        self.addCleanup(setattr, self.target, "problems", [])
        self.wait_health(503)
        health, problem = self.degraded("storage")
        self.assertEqual((health["target"], problem["problem"], problem["to_do"]),
                         ("ok", "storage could not keep it", "see dmesg"))
        self.cli_says("storage could not keep it", "see dmesg")

    def test_a_state_file_that_was_set_aside_is_told_and_all_is_ok(self):
        self.target.problems = [{"area": "state", "message": "tasks.json cannot be used", "advice": "look at it"}]
        self.addCleanup(setattr, self.target, "problems", [])
        health = wait_until(lambda: (found := self.wait_health(200))["problems"] and found, "health passes it on")
        self.assertEqual([problem["source"] for problem in health["problems"]], ["state"])
        done = run_cli("status", url=self.address, token=self.token)
        self.assertEqual(done.code, 0, done)
        self.assertIn("tasks.json cannot be used", done.out)

    def test_links_that_fail_are_counted_and_named(self):
        self.upload(self.name)
        good = self.add_lease(self.name)
        client = self.add_client(self.name)
        self.target.link_refusal = (507, "no-space", "there is no room for its overlay")
        self.addCleanup(setattr, self.target, "link_refusal", None)
        failed = self.check(self.api.post("/links", {"client": client["name"], "image": self.name}), 202)
        self.assertEqual(failed["state"], "failed")
        wait_until(lambda: self.client(None).get("/health").json["status"] == "degraded", "the failure is told")
        _, problem = self.degraded("links", 200)  # the others are served
        self.assertRegex(problem["problem"], f"^1 of [0-9]+ links .*{self.name} .*no room")
        self.cli_says("no room for its overlay")
        for link in (good, failed):
            self.check(self.api.delete(f"/links/{link['id']}"), 204)
        wait_until(lambda: self.client(None).get("/health").json["status"] == "ok", "all is well again")

    def test_a_link_that_the_target_stopped_serving_is_not_ready(self):
        self.upload(self.name)
        lease = self.add_lease(self.name)
        self.target.links[lease["id"]].update(ready=False, problem="its overlay is not mounted")
        for shown in (self.api.get(f"/links/{lease['id']}").json,
                      *(link for link in self.api.get_all("/links") if link["id"] == lease["id"])):
            self.assertEqual((shown["state"], shown["problem"]), ("failed", "its overlay is not mounted"))
        self.target.links[lease["id"]].update(ready=True, problem=None)
        self.assertEqual(self.api.get(f"/links/{lease['id']}").json["state"], "ready")


class Database(HealthCase, OwnServer):
    """The server is frozen and used up."""

    def test_a_server_that_hangs_is_said_in_time(self):
        with self.server.frozen():
            wait_until(lambda: self.client(None).get("/health").status == 503, "the hang is seen")
            health, problem = self.degraded("database")
            self.assertIn("PostgreSQL", health["database"])
            self.assertIn("PCs run and boot on", problem["to_do"])
            self.assertEqual((health["target"], health["pxe"]), ("ok", "ok"))
            self.check(self.in_time(lambda: self.api.get("/status")), 503, "database-unavailable")
            self.cli_says("problem   database: ")
            live = Api(f"unix:{self.folder}/control.sock").get("/live")
            self.assertEqual(live.status, 200, "no reason to start the manager again")
        self.wait_health(200)

    def test_connections_that_are_used_up_are_said(self):
        with self.server.no_connection_left():
            self.wait_health(503)
            _, problem = self.degraded("database")
            self.assertIn("used up", problem["problem"])
            self.assertIn("max_connections", problem["to_do"])
        self.wait_health(200)

    def test_a_pool_that_is_used_up_is_said(self):
        with self.server.holding("LOCK TABLE goldlink.images", "own"), concurrent.futures.ThreadPoolExecutor(32) as threads:
            waiting = [threads.submit(self.client(self.token).get, "/images") for _ in range(32)]
            found = wait_until(lambda: [problem for problem in self.api.get("/health").json["problems"]
                                        if "connections of this manager" in problem["problem"]],
                               "health says that the pool is used up")
            self.assertIn("pg_stat_activity", found[0]["to_do"])
        for call in waiting:
            self.assertIn(call.result().status, (200, 409, 503))
        self.wait_health(200)


class Idle(HealthCase, OwnServer):
    """Nothing happens and network boot is off: next to nothing is asked of the database."""

    with_pxe = False

    def transactions(self):
        [[count]] = self.server.sql("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'own'")
        return int(count)

    def test_an_idle_manager_leaves_the_database_alone(self):
        self.upload(self.name)
        lease = self.add_lease(self.name)
        wait_until(lambda: self.api.get(f"/links/{lease['id']}").json["state"] == "ready", "the link is ready")
        time.sleep(2)  # what followed from that is done, and counted
        before = self.transactions()
        time.sleep(10)
        self.assertLess((self.transactions() - before) / 10, 20, "transactions a second")


if __name__ == "__main__":
    unittest.main()
