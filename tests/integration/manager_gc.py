"""POST /gc of the REST contract: what goes, what stays, and what is said of it."""

import hashlib
import random

from harness.processes import wait_until


class GarbageOperations:
    def test_collectGarbage(self):
        digest_of = lambda number: self.api.get(f"/images/{self.name}/versions").json["items"][-number]["digest"]  # noqa: E731
        for _ in range(5):
            self.upload(self.name)
        # 1 is somebody's disk, 2 what production points at, 5 the newest; 3 is used by nobody, and 4's data a clone's too.
        lease = self.add_lease(f"{self.name}@1", policy="keep")
        self.check(self.api.put(f"/images/{self.name}/channels/production", {"version": 2}), 200)
        self.check(self.api.post(f"/images/{self.name}/clone", {"name": f"{self.name}-c", "version": 4}), 201)
        digests = {number: digest_of(number) for number in range(1, 6)}
        self.target.versions["f" * 64] = {"digest": "f" * 64, "size_bytes": 10, "stored_bytes": 10, "unique_bytes": 10}
        self.target.uploads["import-of-yesterday"] = ("", 77)

        plain = self.check(self.operator.post("/gc", {"dry_run": True}), 200)
        ours = lambda view: {item["name"]: item for item in view["items"]  # noqa: E731
                             if item["name"].startswith(self.name) or item["kind"] == "upload" or item["digest"] == "f" * 64}
        self.assertEqual(set(ours(plain)), {"f" * 12, "import-of-yesterday"}, "no version of an image without being told")
        self.assertIn("no image has it", ours(plain)["f" * 12]["reason"])

        would = self.check(self.operator.post("/gc", {"dry_run": True, "keep_versions": 1}), 200)
        self.assertTrue(would["dry_run"])
        self.assertEqual(set(ours(would)), {"f" * 12, "import-of-yesterday", f"{self.name}@3", f"{self.name}@4"})
        self.assertEqual((ours(would)[f"{self.name}@3"]["digest"], ours(would)[f"{self.name}@3"]["own_bytes"]),
                         (digests[3], self.target.versions[digests[3]]["unique_bytes"]))
        self.assertIn("superseded", ours(would)[f"{self.name}@3"]["reason"])
        self.assertEqual(ours(would)[f"{self.name}@4"]["bytes"], 0)
        self.assertIn("its data stays", ours(would)[f"{self.name}@4"]["reason"])
        self.assertEqual(len(self.api.get(f"/images/{self.name}/versions").json["items"]), 5, "nothing has changed")
        keeps_three = ours(self.check(self.api.post("/gc", {"dry_run": True, "keep_versions": 3}), 200))
        self.assertEqual(set(keeps_three), {"f" * 12, "import-of-yesterday"}, "3 is among the newest three")

        self.target.garbage_kept = [{"kind": "pack", "name": "", "why": "no permission"}]
        self.addCleanup(setattr, self.target, "garbage_kept", [])
        task = self.wait_task(self.check(self.operator.post("/gc", {"keep_versions": 1}), 202))
        self.assertEqual((task["kind"], task["subject"]), ("gc", "image store"))
        self.assertEqual(set(ours(task["result"])), set(ours(would)))
        self.assertFalse(task["result"]["dry_run"])
        self.assertEqual(task["result"]["kept"], [{"kind": "pack", "name": "", "why": "no permission"}])
        self.assertIn("1 could not go yet", task["message"])
        left = [version["number"] for version in self.api.get(f"/images/{self.name}/versions").json["items"]]
        self.assertEqual(left, [5, 2, 1])
        for number in (1, 2, 4, 5):
            self.assertIn(digests[number], self.target.versions, f"the data of {number} stays")
        self.assertNotIn(digests[3], self.target.versions)
        self.assertNotIn("f" * 64, self.target.versions)
        self.assertNotIn("import-of-yesterday", self.target.uploads)
        self.wait_event("gc_done")

        self.check(self.api.delete(f"/links/{lease['id']}"), 204)
        self.check(self.api.post("/gc", {"keep_versions": 0}), 400, "invalid")
        self.check(self.api.post("/gc", {"everything": True}), 400, "invalid")
        self.refuses_roles("POST", "/gc", {})

    def test_superseded_versions_go_also_when_the_clean_up_does_not_come_so_far(self):
        for _ in range(3):
            self.upload(self.name)
        self.check(self.api.put(f"/images/{self.name}/channels/production", {"version": 1}), 200)
        digest = self.api.get(f"/images/{self.name}/versions").json["items"][1]["digest"]
        self.target.hold_imports = True
        self.addCleanup(setattr, self.target, "hold_imports", False)
        task = self.check(self.api.post("/gc", {"keep_versions": 1}), 202)
        wait_until(lambda: task["id"] in self.target.imports, "the target works on it")
        self.assertIn(digest, self.target.garbage_asked[-1]["versions"])
        self.assertEqual([version["number"] for version in self.api.get(f"/images/{self.name}/versions").json["items"]], [3, 1])
        self.assertIn(digest, self.target.versions, "only the clean-up removes it while it runs")
        self.check(self.api.delete(f"/tasks/{task['id']}"), 202)
        self.wait_task(task, state="cancelled")
        wait_until(lambda: digest not in self.target.versions, "its data goes as any deleted version's")

    def test_a_version_that_comes_while_garbage_is_looked_for_stays(self):
        # One that a transfer is about to become: its data may be there already.
        digest = "e" * 64
        self.target.versions[digest] = {"digest": digest, "size_bytes": 10, "stored_bytes": 10, "unique_bytes": 10}
        begun = self.check(self.api.post(f"/images/{self.name}/transfers", {"digest": digest, "size_bytes": 10}), 201)
        asked = len(self.target.garbage_asked)
        self.wait_task(self.check(self.api.post("/gc"), 202))
        self.assertNotIn(digest, self.target.garbage_asked[asked]["versions"], "a transfer under way is to become it")
        self.check(self.api.delete(f"/tasks/{begun['id']}"), 202)
        self.wait_task(begun, state="cancelled")
        self.wait_task(self.check(self.api.post("/gc"), 202))
        self.assertIn(digest, self.target.garbage_asked[-1]["versions"], "now nobody wants it")

        # An import whose version is there, and not yet noted.
        self.target.hold_imports = True
        self.addCleanup(setattr, self.target, "hold_imports", False)
        content = random.randbytes(4096)
        task = self.check(self.api.put(f"/images/{self.name}/content", content), 202)
        wait_until(lambda: task["id"] in self.target.imports, "the target works on it")
        made = hashlib.sha256(content).hexdigest()
        self.target.versions[made] = {"digest": made, "size_bytes": 4096, "stored_bytes": 1, "unique_bytes": 1}
        self.target.garbage_tasks[made] = [task["id"]]  # as if it had ended at the target just now
        would = self.check(self.api.post("/gc", {"dry_run": True}), 200)
        self.assertNotIn(made, [item["digest"] for item in would["items"]])
        self.target.hold_imports = False
        self.wait_task(task)
        self.assertEqual(self.api.get(f"/images/{self.name}").json["versions"][0]["digest"], made)

    def test_content_that_came_back_since_its_version_was_deleted_stays(self):
        def bring(content):
            task = self.wait_task(self.check(self.api.put(f"/images/{self.name}/content", content), 202))
            return task["result"]["version"], hashlib.sha256(content).hexdigest()

        def delete_another_and_wait():
            # Deletions are carried out in the order in which they were asked for.
            number, digest = others.pop()
            self.check(self.api.delete(f"/images/{self.name}/versions/{number}"), 204)
            wait_until(lambda: digest not in self.target.versions, "the other one's data goes")

        self.upload(self.name)
        others = [bring(random.randbytes(4096)), bring(random.randbytes(4096))]
        content = random.randbytes(4096)
        number, digest = bring(content)
        bring(random.randbytes(4096))  # channel latest moves on
        self.target.refuse_deletions = True
        self.addCleanup(setattr, self.target, "refuse_deletions", False)
        self.check(self.api.delete(f"/images/{self.name}/versions/{number}"), 204)
        wait_until(lambda: digest in self.target.deletions_asked, "the manager asks for it")

        # It has come back, and the registry does not know of it yet.
        self.target.hold_imports = True
        self.addCleanup(setattr, self.target, "hold_imports", False)
        task = self.check(self.api.put(f"/images/{self.name}/content", content), 202)
        wait_until(lambda: task["id"] in self.target.imports, "the target works on it")
        self.target.garbage_tasks[digest] = [task["id"]]  # as if it had ended at the target just now
        looks = self.target.garbage_looks  # one of them may be under way
        wait_until(lambda: self.target.garbage_looks >= looks + 2, "the manager has seen that")
        self.target.refuse_deletions = False
        delete_another_and_wait()
        self.assertIn(digest, self.target.versions)

        # Now the registry has it again.
        self.target.hold_imports = False
        self.wait_task(task)
        del self.target.garbage_tasks[digest]
        delete_another_and_wait()
        self.assertIn(digest, self.target.versions)
        self.assertEqual(self.api.get(f"/images/{self.name}").json["versions"][0]["digest"], digest)
