"""The operations on the registry itself and on the trash, for EveryOperation of manager_api_test."""

import uuid

from harness.processes import wait_until


class RegistryOperations:
    def stray(self, policy="keep"):
        """A link at the target that the registry never had."""
        link = str(uuid.uuid4())
        with self.target.lock:
            self.target.links[link] = {
                "id": link, "revision": 0, "iqn": f"iqn.2026-11.io.goldlink:{link}", "alias": "stray",
                "disks": [{"lun": 0, "version": "0" * 64, "policy": policy, "quota_bytes": None, "logical_block_bytes": 512}]}
        return link

    def trashed(self):
        """An entry of the trash, and the client that had the disk."""
        self.ready_image()
        client = self.add_client(self.name)
        link = self.check(self.api.post("/links", {"client": client["name"], "image": self.name, "policy": "keep"}), 201)
        self.check(self.api.delete(f"/links/{link['id']}"), 204)
        return next(entry for entry in self.api.get_all("/trash") if entry["link_id"] == link["id"]), client

    def test_getRegistry(self):
        self.refuses_roles("GET", "/registry", allowed=("viewer", "operator"))
        wait_until(lambda: self.check(self.viewer.get("/registry"), 200)["match"] == "own", "the target follows it")

    def test_adoptRegistry(self):
        self.refuses_roles("POST", "/registry/adopt", {}, allowed=())
        stray = self.stray()
        self.check(self.api.post("/registry/adopt", {"confirm_removals": -1}), 400, "invalid")
        self.check(self.api.post("/registry/adopt", {}), 409, "mass-removal")
        would = self.check(self.api.post("/registry/adopt", {"dry_run": True}), 200)
        self.assertIn(stray, [link["id"] for link in would["unknown_links"]])
        self.check(self.api.post("/registry/adopt", {"confirm_removals": len(would["unknown_links"])}), 202)
        wait_until(lambda: stray not in self.target.links, "what the registry never had is removed")

    def test_listTrash(self):
        entry, client = self.trashed()
        self.refuses_roles("GET", "/trash", allowed=("viewer", "operator"))
        self.assertEqual((entry["alias"], entry["disks"][0]["image"]), (client["name"], self.name))
        first = self.check(self.viewer.get("/trash?limit=1"), 200)
        self.assertEqual(len(first["items"]), 1)
        self.check(self.viewer.get("/trash?limit=none"), 400, "invalid")

    def test_restoreTrash(self):
        entry, client = self.trashed()
        path = f"/trash/{entry['id']}/restore"
        self.refuses_roles("POST", path, {})
        restored = self.check(self.operator.post(path, {}), 200)
        self.assertEqual(restored, {"link_id": entry["link_id"], "client": client["name"]})
        self.check(self.operator.post(path, {}), 404, "not-found")

    def test_deleteTrash(self):
        entry, _ = self.trashed()
        self.refuses_roles("DELETE", f"/trash/{entry['id']}")
        self.check(self.operator.delete(f"/trash/{entry['id']}"), 204)
        self.check(self.operator.delete(f"/trash/{entry['id']}"), 404, "not-found")
