"""What the manager does by itself: the target and pxe follow the registry through their own outages,
and their events become the boots of clients."""

import datetime
import pathlib
import sys
import unittest
import uuid

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[1])]

from harness.processes import wait_until  # noqa: E402
from manager_case import ManagerCase, postgres  # noqa: E402


def at(seconds):
    start = datetime.datetime(2026, 11, 21, 9, 0, tzinfo=datetime.timezone.utc)
    return (start + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Links(ManagerCase):
    def setUp(self):
        super().setUp()
        self.upload(self.name)

    def test_a_link_made_while_the_target_is_away_is_served_when_it_is_back(self):
        self.target.stop()
        try:
            link = self.check(self.api.post("/links", {"lease": "10m", "image": self.name}), 202)
            self.assertEqual(link["state"], "pending")
            self.assertIn("does not answer", link["problem"])
            self.check(self.api.post(f"/links/{link['id']}/reset"), 503, "target-unavailable")
            self.check(self.api.put(f"/images/{self.name}/content", b"x" * 100), 503, "target-unavailable")
        finally:
            self.target.start()
        ready = wait_until(lambda: (now := self.api.get(f"/links/{link['id']}").json)["state"] == "ready" and now, "served")
        self.assertIsNone(ready["problem"])
        self.assertIn(link["id"], self.target.links)

    def test_a_link_removed_while_the_target_is_away_is_dropped_when_it_is_back(self):
        lease = self.add_lease(self.name)
        self.target.stop()
        try:
            self.check(self.api.delete(f"/links/{lease['id']}"), 204)
            self.assertIn(lease["id"], self.target.links)
        finally:
            self.target.start()
        wait_until(lambda: lease["id"] not in self.target.links, "the target drops the link")

    def test_a_target_that_lost_its_state_gets_it_again(self):
        leases = [self.add_lease(self.name) for _ in range(3)]
        self.target.stop()
        self.target.links, self.target.revision = {}, 0
        wait_until(lambda: self.client(None).get("/health").status == 503, "the loss is seen")
        self.target.start()
        self.api.post("/images", {"name": self.name + "-touch"})
        self.add_lease(self.name)
        wait_until(lambda: all(lease["id"] in self.target.links for lease in leases), "all links are served again", 60)

    def test_leases_run_out(self):
        lease = self.check(self.api.post("/links", {"lease": "1s", "image": self.name}), 201)
        self.assertIsNotNone(lease["lease_expires_at"])
        wait_until(lambda: lease["id"] not in self.target.links, "the lease is removed from the target")
        self.check(self.api.get(f"/links/{lease['id']}"), 404, "not-found")
        self.wait_event("lease_expired", link_id=lease["id"])

    def test_a_rebase_is_on_record_after_its_manager_was_killed(self):
        lease = self.add_lease(self.name, policy="keep")
        self.upload(self.name, query="?channel=production")
        self.target.hold_imports = True
        try:
            task = self.check(self.api.post(f"/links/{lease['id']}/rebase", {"take": "fresh"}), 202)
            wait_until(lambda: task["id"] in self.target.imports, "the target has it")
            self.manager.kill()
        finally:
            self.target.hold_imports = False
        self.manager.start()
        self.wait_task(task)
        link = wait_until(lambda: (now := self.api.get(f"/links/{lease['id']}").json)["version"] == 2
                          and now["state"] == "ready" and now, "the registry follows")
        self.assertEqual(link["channel"], "production")
        digest = self.api.get(f"/images/{self.name}").json["versions"][0]["digest"]
        self.assertEqual(self.target.links[lease["id"]]["disks"][0]["version"], digest)

    def test_an_import_goes_on_when_the_target_was_away(self):
        self.target.hold_imports = True
        try:
            task = self.check(self.api.put(f"/images/{self.name}/content", b"z" * 5000), 202)
            wait_until(lambda: self.api.get(f"/tasks/{task['id']}").json["state"] == "running", "it runs")
            self.target.stop()
            wait_until(lambda: self.client(None).get("/health").status == 503, "the loss is seen")
        finally:
            self.target.hold_imports = False
            self.target.start()
        self.wait_task(task)

    def test_an_import_the_target_forgot_is_started_again(self):
        self.target.hold_imports = True
        try:
            task = self.check(self.api.put(f"/images/{self.name}/content", b"q" * 5000), 202)
            wait_until(lambda: self.api.get(f"/tasks/{task['id']}").json["state"] == "running", "it runs")
            self.target.imports.clear()
            wait_until(lambda: task["id"] in self.target.imports, "it is started again")
        finally:
            self.target.hold_imports = False
        self.wait_task(task)

    def test_a_blank_disk_the_target_forgot_is_made_again_of_its_size(self):
        self.target.hold_imports = True
        try:
            task = self.check(self.api.post(f"/images/{self.name}/blank", {"size_bytes": 3 << 20}), 202)
            wait_until(lambda: self.api.get(f"/tasks/{task['id']}").json["state"] == "running", "it runs")
            self.target.imports.clear()
            wait_until(lambda: task["id"] in self.target.imports, "it is started again")
        finally:
            self.target.hold_imports = False
        self.wait_task(task)
        self.assertEqual(self.check(self.api.get(f"/images/{self.name}"), 200)["size_bytes"], 3 << 20)

    def test_an_upload_whose_manager_died_is_ended(self):
        task = self.upload(self.name)
        postgres().sql(f"UPDATE goldlink.tasks SET phase = 'upload', state = 'running', finished_at = NULL,"
                       f" updated_at = now() - interval '2 minutes' WHERE id = '{task['id']}'", self.database)
        ended = self.wait_task(task, "failed", 60)
        self.assertIn("cut off", ended["error"])


class BootTable(ManagerCase):
    def test_pxe_has_every_approved_client(self):
        self.upload(self.name)
        linked, unlinked = self.add_client(self.name + "1"), self.add_client(self.name + "2")
        link = self.check(self.api.post("/links", {"client": self.name + "1", "image": self.name}), 201)
        def entries():
            table = {client["id"]: client for client in self.pxe.table["clients"]}
            return table if table.get(linked["id"], {}).get("link_id") and unlinked["id"] in table else None
        table = wait_until(entries, "pxe has the clients")
        self.assertEqual(table[linked["id"]], {
            "id": linked["id"], "name": self.name + "1", "macs": linked["macs"], "link_id": link["id"], "boot": "link",
            "initiator": f"iqn.2026-11.io.goldlink.client:{self.name}1"})
        self.assertEqual((table[unlinked["id"]]["boot"], table[unlinked["id"]]["link_id"]), ("local", None))
        self.assertEqual(self.pxe.table["settings"]["unknown_policy"], "register")
        self.check(self.api.delete(f"/links/{link['id']}"), 204)
        self.check(self.api.delete(f"/clients/{self.name}1"), 204)
        wait_until(lambda: linked["id"] not in {c["id"] for c in self.pxe.table["clients"]}, "pxe forgets it")

    def test_a_pxe_that_was_away_catches_up(self):
        self.pxe.stop()
        try:
            client = self.add_client(self.name)
            wait_until(lambda: self.client(None).get("/health").json["pxe"] != "ok", "health says so")
        finally:
            self.pxe.start()
        wait_until(lambda: client["id"] in {c["id"] for c in self.pxe.table["clients"]}, "the table is pushed")

    def test_nothing_is_pushed_while_nothing_changes(self):
        self.add_client(self.name)
        wait_until(lambda: any(c["name"] == self.name for c in self.pxe.table["clients"]), "the table is pushed")
        self.upload(self.name)  # images change no boot table
        before = self.pxe.puts
        self.add_client(self.name + "2")
        wait_until(lambda: any(c["name"] == self.name + "2" for c in self.pxe.table["clients"]), "the next push")
        self.assertEqual(self.pxe.puts, before + 1)


class Boots(ManagerCase):
    def setUp(self):
        super().setUp()
        self.upload(self.name)
        self.pc = self.add_client(self.name)
        self.link = self.check(self.api.post("/links", {"client": self.name, "image": self.name}), 201)
        self.boot = str(uuid.uuid4())

    def from_pxe(self, kind, second, boot="", mac=None, **data):
        self.pxe.add_event(kind, time=at(second), mac=mac or self.pc["macs"][0], client_id=self.pc["id"],
                           boot_id=(boot or self.boot) if boot is not None else None, data=data)

    def from_target(self, kind, second, boot="", **data):
        self.target.add_event(kind, time=at(second), link_id=self.link["id"], generation=2,
                              boot_id=(boot or self.boot) if boot is not None else None, data=data)

    def boots(self):
        return self.api.get_all(f"/clients/{self.name}/boots")

    def wait_boot(self, what, condition):
        return wait_until(lambda: next((boot for boot in self.boots() if condition(boot)), None), what)

    def test_the_stages_of_a_boot_in_order(self):
        self.from_pxe("dhcp_discover", 0, arch="uefi-x64", stage="firmware")
        self.from_pxe("dhcp_offer", 0.1, arch="uefi-x64", file="snponly.efi")
        self.from_pxe("nbp_sent", 1.5, file="snponly.efi", bytes=200_000, address="10.0.0.7")
        self.from_pxe("dhcp_discover", 3, arch="uefi-x64", stage="ipxe")
        self.from_pxe("script", 4, arch="uefi-x64", address="10.0.0.7", link_id=self.link["id"])
        boot = self.wait_boot("it boots", lambda b: any(s["stage"] == "script" for s in b["stages"]))
        self.assertEqual((boot["id"], boot["state"], boot["firmware"]), (self.boot, "booting", "uefi-x64"))
        self.from_target("login", 5, address="10.0.0.7:1024")
        self.from_target("os_login", 12, address="10.0.0.7:1025")
        self.from_target("first_write", 13)
        boot = self.wait_boot("it runs", lambda b: len(b["stages"]) == 7)
        self.assertEqual([(s["stage"], s["after_ms"]) for s in boot["stages"]],
                         [("dhcp", 0), ("nbp", 1500), ("ipxe", 3000), ("script", 4000), ("login", 5000),
                          ("os_login", 12000), ("first_write", 13000)])
        self.assertEqual((boot["state"], boot["address"], boot["problem"], boot["ended_at"]), ("running", "10.0.0.7", None, None))
        self.assertEqual(boot["stages"][1]["detail"], "snponly.efi, 200000 bytes")
        self.assertEqual(self.api.get(f"/clients/{self.name}").json["last_boot"]["id"], self.boot)
        self.from_target("generation_end", 100)
        boot = self.wait_boot("it ends", lambda b: b["state"] == "ended")
        self.assertEqual((boot["stages"][-1]["stage"], boot["ended_at"]), ("end", at(100)))
        event = self.wait_event("os_login", client=self.name)
        self.assertEqual((event["link_id"], event["boot_id"], event["data"]["generation"]), (self.link["id"], self.boot, 2))

    def test_what_firmware_repeats_adds_nothing(self):
        for second in (0, 1, 2):
            self.from_pxe("dhcp_discover", second, arch="bios", stage="firmware")
        self.from_target("login", 5)
        boot = self.wait_boot("it boots", lambda b: len(b["stages"]) == 2)
        self.assertEqual((len(self.boots()), boot["stages"][0]["at"]), (1, at(0)))

    def test_a_new_start_ends_the_boot_before(self):
        self.from_pxe("dhcp_discover", 0, stage="firmware")
        self.from_target("os_login", 10)
        self.wait_boot("it runs", lambda b: b["state"] == "running")
        second = str(uuid.uuid4())
        self.from_pxe("dhcp_discover", 60, boot=second, stage="firmware")
        self.wait_boot("the first ends", lambda b: b["id"] == self.boot and b["state"] == "ended" and b["ended_at"] == at(60))
        third = str(uuid.uuid4())
        self.from_pxe("dhcp_discover", 90, boot=third, stage="firmware")
        failed = self.wait_boot("the second failed", lambda b: b["id"] == second and b["state"] == "failed")
        self.assertIn("started again", failed["problem"])
        self.assertEqual(self.api.get(f"/clients/{self.name}").json["last_boot"]["id"], third)

    def test_a_login_that_is_told_late_does_not_revive_the_boot(self):
        self.from_pxe("dhcp_discover", 0, stage="firmware")
        second = str(uuid.uuid4())
        self.from_pxe("dhcp_discover", 60, boot=second, stage="firmware")
        self.wait_boot("the first is over", lambda b: b["id"] == self.boot and b["state"] == "failed")
        self.from_target("os_login", 10)
        late = self.wait_boot("it ran, as is known now", lambda b: b["id"] == self.boot and b["state"] == "ended")
        self.assertEqual((late["problem"], late["ended_at"]), (None, at(60)))

    def test_a_target_that_lost_the_boot_id_still_counts_for_the_boot(self):
        self.from_pxe("dhcp_discover", 0, stage="firmware")
        self.wait_boot("it begins", lambda b: b["id"] == self.boot)
        self.from_target("login", 5, boot=None)
        self.from_target("os_login", 9, boot=None)
        boot = self.wait_boot("it runs", lambda b: b["state"] == "running")
        self.assertEqual((boot["id"], len(boot["stages"])), (self.boot, 3))

    def test_a_boot_that_pxe_never_told_of_begins_with_its_login(self):
        self.from_target("login", 5, boot=None)
        self.from_target("os_login", 9, boot=None)
        boot = self.wait_boot("it runs", lambda b: b["state"] == "running")
        self.assertEqual([s["stage"] for s in boot["stages"]], ["login", "os_login"])

    def test_a_refused_boot_says_why(self):
        self.from_pxe("dhcp_discover", 0, stage="firmware")
        self.from_pxe("boot_refused", 1, why="the disk server does not answer")
        boot = self.wait_boot("it failed", lambda b: b["state"] == "failed")
        self.assertEqual(boot["problem"], "the disk server does not answer")
        # iPXE retries by itself: the same boot comes up after all.
        self.from_target("login", 30)
        self.from_target("os_login", 40)
        boot = self.wait_boot("it runs after all", lambda b: b["state"] == "running")
        self.assertEqual((boot["id"], boot["problem"], boot["ended_at"]), (self.boot, None, None))

    def test_a_boot_that_stands_still_says_where(self):
        self.from_pxe("dhcp_discover", 0, stage="firmware")  # long before now
        self.from_target("login", 5)
        boot = self.wait_boot("it is called stuck", lambda b: b["state"] == "failed")
        self.assertIn("the operating system never did", boot["problem"])

    def test_an_event_log_that_began_anew_is_read_from_its_start(self):
        self.from_pxe("dhcp_discover", 0, stage="firmware")
        self.wait_boot("it is seen", lambda b: True)
        self.pxe.lose_events()
        second = str(uuid.uuid4())
        self.from_pxe("dhcp_discover", 60, boot=second, stage="firmware")
        self.wait_boot("the new log is read", lambda b: b["id"] == second)

    def test_an_event_that_cannot_be_stored_holds_nothing_up(self):
        self.pxe.add_event("dhcp_discover", mac="no mac", client_id=None, boot_id=self.boot, data={})
        self.pxe.add_event("dhcp_discover", mac=self.pc["macs"][0], client_id=None, boot_id=self.boot, time="never ever at all....", data={})
        self.pxe.add_event("x" * 500, mac=self.pc["macs"][0], client_id=None, boot_id=None, data={})
        self.from_pxe("dhcp_discover", 1, stage="firmware")
        self.wait_boot("the good one is stored", lambda b: b["id"] == self.boot)

    def test_events_are_stored_once(self):
        self.from_pxe("dhcp_discover", 0, stage="firmware")
        self.wait_boot("it is seen", lambda b: True)
        self.add_client(self.name + "x")  # wakes everything once more
        self.from_pxe("script", 2)
        self.wait_event("script", client=self.name)
        kinds = [e["kind"] for e in self.api.get(f"/events?limit=1000&client={self.name}").json["items"]]
        self.assertEqual((kinds.count("dhcp_discover"), kinds.count("script")), (1, 1))

    def test_an_unknown_machine_registers_once_with_the_next_free_name(self):
        macs = [self.random_mac(), self.random_mac()]
        for mac in (macs[0], macs[1], macs[0]):
            self.pxe.add_event("client_unknown", mac=mac, client_id=None, boot_id=str(uuid.uuid4()), data={"arch": "bios"})
        self.pxe.add_event("local_boot", mac=macs[0], client_id=None, boot_id=None, data={"why": self.name})
        self.wait_event("local_boot", data={"why": self.name, "mac": macs[0]})
        pending = [client for mac in macs for client in self.api.get_all(f"/clients?mac={mac}")]
        self.assertEqual(len(pending), 2)
        self.assertEqual({client["state"] for client in pending}, {"pending"})
        self.assertNotEqual(pending[0]["name"], pending[1]["name"])
        self.assertEqual(pending[0]["last_boot"]["state"], "ended")
        self.wait_event("client_registered", client=pending[0]["name"])


class Events(ManagerCase):
    def test_one_bad_event_costs_that_event_and_not_those_after_it(self):
        for case, (old, new) in {"no UTF-8": (b"SPOILED", b"\xff\xfe"), "no JSON": (b'"SPOILED"', b'"un"quoted'),
                                 "cut short": (b'"SPOILED"}', b"")}.items():
            with self.subTest(case):
                after = f"{self.name}, after {case}"
                self.target.spoil = lambda page: page.replace(old, new)
                self.addCleanup(setattr, self.target, "spoil", lambda page: page)
                with self.target.lock:  # in one page
                    self.target.add_event("login_refused", data={"why": "SPOILED"})
                    self.target.add_event("login_refused", data={"why": after})
                self.wait_event("login_refused", data={"why": after})


if __name__ == "__main__":
    unittest.main()
