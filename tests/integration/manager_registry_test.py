"""The target's own registry is told from an empty, another and an older one, and only what was deleted
in it is removed at the target."""

import pathlib
import sys
import unittest
import uuid

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.processes import wait_until  # noqa: E402
from manager_case import ManagerCase, postgres  # noqa: E402


class RegistryCase(ManagerCase):
    def registry(self, api=None):
        return self.check((api or self.api).get("/registry"), 200)

    def wait_match(self, match, api=None):
        """Also where the database was just away: 503 until it is found again."""
        def found():
            answer = (api or self.api).get("/registry")
            return answer.json if answer.status == 200 and answer.json["match"] == match else None
        return wait_until(found, f"the registry is {match}")


class Foreign(RegistryCase):
    """A second database for the same target, as a mistyped --database-url or a lost one gives."""

    def test_an_empty_registry_changes_nothing_until_it_is_adopted(self):
        self.upload(self.name)
        self.wait_match("own")
        client = self.add_client(self.name)
        kept = self.check(self.api.post("/links", {"client": client["name"], "image": self.name, "policy": "keep"}), 201)
        lease = self.add_lease(self.name)
        table = wait_until(lambda: (now := self.pxe.table)["revision"] == self.registry()["revision"] and now, "pxe has all")
        self.manager.stop()

        other = postgres().create_database(f"{self.database}_other")
        _, address, token = self.start_manager("stranger", other)
        stranger = self.client(token, address)
        found = self.wait_match("other", stranger)
        self.assertIn("goldlink registry show", found["problem"])
        self.assertEqual({link["id"] for link in found["unknown_links"]}, {kept["id"], lease["id"]})
        [shown] = [link for link in found["unknown_links"] if link["id"] == kept["id"]]
        self.assertEqual((shown["policy"], shown["alias"], shown["in_use"]), ("keep", client["name"], False))
        health = stranger.get("/health")
        self.assertEqual(health.status, 503)
        self.assertIn("registry", health.json["registry"])

        # What is done in it waits, and says why; the target and pxe keep what they had.
        self.check(stranger.post("/images", {"name": "x"}), 201)
        task = self.check(stranger.post("/images/x/blank", {"size_bytes": 1 << 20}), 202)
        wait_until(lambda: "registry" in stranger.get(f"/tasks/{task['id']}").json["message"], "the task says why it waits")
        self.check(stranger.post("/gc", {}), 409, "registry-not-adopted")
        self.assertEqual(set(self.target.links), {kept["id"], lease["id"]})
        self.assertEqual(self.pxe.table, table)

        # A person sees what would go, and says that it may.
        self.check(stranger.post("/registry/adopt", {"dry_run": True}), 200)
        refused = self.check(stranger.post("/registry/adopt", {}), 409, "mass-removal")
        self.assertIn("confirm_removals 2", refused["detail"])
        self.check(self.client_of(stranger, "operator").post("/registry/adopt", {}), 403, "role-not-allowed")
        self.check(stranger.post("/registry/adopt", {"confirm_removals": 2}), 202)
        self.wait_match("own", stranger)
        wait_until(lambda: not self.target.links, "the links of before are removed")
        self.assertEqual([entry["link_id"] for entry in self.target.trash.values()], [kept["id"]])
        self.wait_task_of(stranger, task)
        wait_until(lambda: stranger.get("/health").status == 200, "all is well")

    def client_of(self, api, role):
        made = self.check(api.post("/tokens", {"name": f"a-{role}", "role": role}), 201)
        return self.client(made["token"], api.address)

    def wait_task_of(self, api, task):
        wait_until(lambda: api.get(f"/tasks/{task['id']}").json["state"] == "done", "the task goes on")


class Older(RegistryCase):
    def test_an_earlier_state_of_the_registry_changes_nothing_until_it_is_adopted(self):
        self.upload(self.name)
        early = self.add_lease(self.name)
        self.wait_match("own")
        dump = postgres().dump(self.database)
        client = self.add_client(self.name)
        late = self.check(self.api.post("/links", {"client": client["name"], "image": self.name, "policy": "keep"}), 201)
        postgres().restore(self.database, dump)
        self.wait_match("older")
        lease = self.check(self.api.post("/links", {"lease": "10m", "image": self.name}), 202)
        self.assertIn("earlier state", lease["problem"])
        self.assertEqual(set(self.target.links), {early["id"], late["id"]})
        self.check(self.api.post("/registry/adopt", {"confirm_removals": 1}), 202)
        self.wait_match("own")
        wait_until(lambda: set(self.target.links) == {early["id"], lease["id"]}, "the target follows it")
        self.assertEqual([entry["link_id"] for entry in self.target.trash.values()], [late["id"]])
        wait_until(lambda: self.api.get(f"/links/{lease['id']}").json["state"] == "ready", "new links are served")
        other = self.add_client(self.name + "-b")
        wait_until(lambda: any(c["id"] == other["id"] for c in self.pxe.table["clients"]), "pxe follows too")


class Elsewhere(RegistryCase):
    """Two servers on one database: the second one's target is not the registry's."""

    def test_another_target_gets_nothing(self):
        self.upload(self.name)
        lease = self.add_lease(self.name)
        self.wait_match("own")
        mine, self.target.target_id = self.target.target_id, str(uuid.uuid4())
        self.target.links, self.target.registry = {}, None
        self.manager.stop()
        _, address, token = self.start_manager("second")
        second = self.client(self.token, address)
        found = self.wait_match("elsewhere", second)
        self.assertIn("another target", found["problem"])
        self.assertEqual(self.target.links, {})
        shown = second.get(f"/links/{lease['id']}").json
        self.assertEqual(shown["state"], "pending", "its own target does not serve it")
        self.assertIn("on another target", shown["problem"])
        self.target.target_id = mine
        self.wait_match("own", second)
        wait_until(lambda: lease["id"] in self.target.links, "the registry's own target gets its links again")


class Kept(RegistryCase):
    def test_a_link_the_registry_never_had_is_left_alone_until_a_person_says_so(self):
        self.upload(self.name)
        stray = str(uuid.uuid4())
        self.target.links[stray] = {"id": stray, "revision": 0, "iqn": "iqn.2026-11.io.goldlink:stray", "alias": "stray",
                                    "disks": [{"lun": 0, "version": "0" * 64, "policy": "keep", "quota_bytes": None,
                                               "logical_block_bytes": 512}]}
        self.target.stop()
        self.check(self.api.post("/links", {"lease": "10m", "image": self.name}), 202)
        self.target.start()  # away and back: everything is compared
        self.wait_event("link_created")
        lease = self.add_lease(self.name)
        self.assertIn(lease["id"], self.target.links)
        self.assertIn(stray, self.target.links)
        self.assertEqual([link["id"] for link in self.registry()["unknown_links"]], [stray])
        self.check(self.api.post("/registry/adopt", {"confirm_removals": 1}), 202)
        wait_until(lambda: stray not in self.target.links, "the stray link is removed")
        self.assertEqual([entry["link_id"] for entry in self.target.trash.values()], [stray])

    def test_a_running_client_keeps_its_disk_unless_forced(self):
        self.upload(self.name)
        client = self.add_client(self.name)
        link = self.check(self.api.post("/links", {"client": client["name"], "image": self.name, "policy": "keep"}), 201)
        self.target.links[link["id"]]["sessions"] = [{"initiator_name": "iqn.pc", "address": "10.0.0.7:1", "since": "x", "isid": "1"}]
        refused = self.check(self.api.delete(f"/links/{link['id']}"), 409, "link-in-use")
        self.assertEqual(refused["blocked_by"], ["iqn.pc"])
        self.assertIn(link["id"], self.target.links)
        self.check(self.api.delete(f"/links/{link['id']}?force=true"), 204)
        self.assertNotIn(link["id"], self.target.links)

        # And back from the trash, as the link it was.
        [entry] = [e for e in self.check(self.api.get("/trash"), 200)["items"] if e["link_id"] == link["id"]]
        self.assertEqual((entry["alias"], entry["disks"][0]["image"], entry["disks"][0]["version"]), (client["name"], self.name, 1))
        restored = self.check(self.api.post(f"/trash/{entry['id']}/restore", {}), 200)
        self.assertEqual(restored, {"link_id": link["id"], "client": client["name"]})
        wait_until(lambda: self.api.get(f"/links/{link['id']}").json["state"] == "ready", "it is served")
        self.check(self.api.post(f"/trash/{entry['id']}/restore", {}), 404, "not-found")

    def test_a_disk_for_a_client_that_is_gone_or_has_one_is_refused(self):
        self.upload(self.name)
        client, other = self.add_client(self.name), self.add_client(self.name + "-b")
        link = self.check(self.api.post("/links", {"client": client["name"], "image": self.name, "policy": "keep"}), 201)
        self.check(self.api.delete(f"/links/{link['id']}"), 204)
        [entry] = [e for e in self.check(self.api.get("/trash"), 200)["items"] if e["link_id"] == link["id"]]
        path = f"/trash/{entry['id']}"
        self.check(self.api.delete(f"/clients/{client['name']}"), 204)
        self.check(self.api.post(f"{path}/restore", {}), 400, "invalid")
        taken = self.check(self.api.post("/links", {"client": other["name"], "image": self.name}), 201)
        self.check(self.api.post(f"{path}/restore", {"client": other["name"]}), 409, "client-linked")
        self.check(self.api.delete(f"/links/{taken['id']}"), 204)
        self.check(self.api.post(f"{path}/restore", {"client": other["name"]}), 200)
        self.check(self.api.delete(path), 404)

    def test_a_lease_is_gone_with_its_time(self):
        self.upload(self.name)
        lease = self.add_lease(self.name, policy="keep")
        self.check(self.api.delete(f"/links/{lease['id']}"), 204)
        self.assertNotIn(lease["id"], [entry["link_id"] for entry in self.target.trash.values()])


if __name__ == "__main__":
    unittest.main()
