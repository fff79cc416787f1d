"""goldlink-target killed and started again: nothing acknowledged is lost, nobody is needed to go on."""

import os
import random
import subprocess
import threading
import unittest
import uuid

from harness import iscsi, processes, target_case as target

MIB = 1 << 20
BLOCK = 4096


class Writer(threading.Thread):
    """Writes numbered blocks until the connection breaks; knows what was acknowledged."""

    def __init__(self, initiator, seed, disk_bytes):
        super().__init__(daemon=True)
        self.initiator, self.random = initiator, random.Random(seed)
        self.blocks = disk_bytes // BLOCK
        self.acknowledged = {}  # block -> content
        self.in_flight = None   # (block, content)
        self.count = 0
        self.error = None

    @staticmethod
    def content(number, block):
        return (b"%016d.%016d." % (number, block)).ljust(64, b"#") * (BLOCK // 64)

    def run(self):
        try:
            while True:
                block = self.random.randrange(self.blocks)
                self.in_flight = (block, self.content(self.count, block))
                self.initiator.write(block * BLOCK // 512, self.in_flight[1])
                self.acknowledged[block] = self.in_flight[1]
                self.count += 1
                if self.count % 50 == 0:
                    self.initiator.flush()
        except (iscsi.Closed, OSError):
            pass
        except Exception as error:  # told to the test
            self.error = error


class Restart(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.image = os.urandom(2 * MIB) + bytes(6 * MIB)
        self.version = self.target.import_image(self.image)

    def login(self, link, username="user", secret=target.SECRET):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        return initiator.login(link["iqn"], username, secret)

    def kill_under_writers(self, policy, rounds=3):
        link = self.target.put_link(f"pc-{policy}", self.version, policy)
        boot = self.target.boot(link)
        expected = {}
        for number in range(rounds):
            writer = Writer(self.login(link, boot["username"], boot["secret"]), number, len(self.image))
            writer.start()
            processes.wait_until(lambda: writer.count >= 200 * (number + 1) or not writer.is_alive(),
                                 "blocks are written", 60)
            self.target.restart_after_kill()
            writer.join(30)
            self.assertIsNone(writer.error)
            expected.update(writer.acknowledged)
            view = self.target.view(link)
            self.assertTrue(view["ready"], view)
            # The writer's login may not have been saved yet: this one tells of its boot anew.
            reader = self.login(link, boot["username"], boot["secret"])
            self.assertEqual(self.target.view(link)["generation"], boot["generation"])
            in_flight, maybe = writer.in_flight
            for block in range(len(self.image) // BLOCK):
                found = reader.read(block * BLOCK // 512, BLOCK // 512)
                wanted = expected.get(block, self.image[block * BLOCK:(block + 1) * BLOCK])
                if found != wanted:
                    # Only what was never acknowledged may be either.
                    self.assertTrue(block == in_flight and found == maybe,
                                    f"round {number}: block {block} is {found[:40]}, not {wanted[:40]}")
                    expected[block] = found
            reader.logout()
        return link, expected

    def test_discard_loses_no_acknowledged_write_when_killed(self):
        link, expected = self.kill_under_writers("discard")
        fresh = self.target.boot(link)
        reader = self.login(link, fresh["username"], fresh["secret"])
        block = next(iter(expected))
        self.assertEqual(reader.read(block * 8, 8), self.image[block * BLOCK:(block + 1) * BLOCK])

    def test_keep_loses_no_acknowledged_write_when_killed(self):
        self.kill_under_writers("keep")

    def test_discard_in_memory_loses_no_acknowledged_write_when_killed(self):
        self.target.daemon.stop()
        ram = processes.pathlib.Path(processes.tempfile.mkdtemp(prefix="goldlink-", dir="/dev/shm"))
        self.addCleanup(processes.shutil.rmtree, ram, True)
        # One link's share is a sixteenth: 4 MiB, so that writes also spill to the disk.
        self.target.daemon.arguments += ["--ram-dir", str(ram), "--ram-budget", "64MiB"]
        self.target.start()
        link, _ = self.kill_under_writers("discard", 2)
        self.assertGreater(self.target.view(link)["overlay"]["ram_bytes"], 0)

    def test_a_prepared_boot_survives_a_kill(self):
        link = self.target.put_link("pc-001", self.version)
        self.login(link).write(0, b"A" * 512)
        boot = self.target.boot(link)
        self.target.restart_after_kill()
        self.assertEqual(self.target.view(link)["pending_generation"], boot["generation"])
        booted = self.login(link, boot["username"], boot["secret"])
        self.assertEqual(booted.read(0, 1), self.image[:512])
        booted.write(0, b"B" * 512)
        self.target.restart_after_kill()  # perhaps before the login was saved
        again = self.login(link, boot["username"], boot["secret"])
        self.assertEqual(again.read(0, 1), b"B" * 512)
        self.assertEqual(self.target.view(link)["generation"], boot["generation"])

    def test_events_go_on_with_higher_numbers(self):
        link = self.target.put_link("pc-001", self.version)
        self.login(link).logout()
        before = self.target.wait_event("session_end")["seq"]
        self.target.restart_after_kill()
        self.login(link).logout()
        # The generation has seen a firmware and a system by now only if it says so.
        after = self.target.wait_event("session_end", after=before)
        self.assertGreater(after["seq"], before)

    def test_an_interrupted_import_runs_again(self):
        big = self.folder / "big.raw"
        with open(big, "wb") as file:
            for _ in range(96):
                file.write(os.urandom(MIB))
        report = self.check(self.target.start_import(big), 202)
        self.target.restart_after_kill()

        def done():
            now = self.check(self.target.api.get(f"/imports/{report['id']}"), 200)
            self.assertIn(now["state"], ("running", "done"), now)
            return now if now["state"] == "done" else None

        result = processes.wait_until(done, "the import runs again", 120)
        link = self.target.put_link("pc-001", result["version"]["digest"])
        with open(big, "rb") as file:
            self.assertEqual(self.login(link).read(0, 128), file.read(65536))
        self.assertEqual(list((self.target.state_dir / "uploads").iterdir()), [])

    def test_a_killed_upload_leaves_nothing(self):
        connection = processes.UnixConnection(self.target.socket, 30)
        connection.putrequest("PUT", "/uploads/half.raw")
        connection.putheader("Content-Length", str(100 * MIB))
        connection.endheaders()
        connection.send(os.urandom(4 * MIB))
        uploads = self.target.state_dir / "uploads"
        processes.wait_until(lambda: list(uploads.iterdir()), "the upload has begun")
        self.target.restart_after_kill()
        connection.close()
        self.assertEqual(list(uploads.iterdir()), [])

    def test_a_link_whose_version_is_broken_does_not_keep_the_others_from_serving(self):
        other = self.target.import_image(b"O" * MIB)
        broken, good = self.target.put_link("broken", self.version), self.target.put_link("good", other)
        self.target.daemon.stop()
        manifest = self.target.state_dir / "store" / "manifests" / self.version
        manifest.rename(self.folder / "manifest")
        self.target.start()
        self.assertEqual(self.login(good).read(0, 1), b"O" * 512)
        view = self.target.view(broken)
        self.assertFalse(view["ready"])
        self.assertIn(self.version, view["problem"])
        with self.assertRaises(iscsi.LoginFailed):
            self.login(broken)
        refused = self.target.api.post(f"/links/{broken['id']}/boots", {"boot_id": str(uuid.uuid4())})
        self.assertIn(refused.status, (404, 500), refused)
        self.assertIn("cannot boot", refused.json["detail"])
        (self.folder / "manifest").rename(manifest)
        body = self.target.link_body("broken", self.version)
        self.assertTrue(self.check(self.target.api.put(f"/links/{broken['id']}", body), 200)["ready"])
        self.assertEqual(self.login(broken).read(0, 1), self.image[:512])

    def test_a_link_waits_for_its_version_and_serves_when_an_import_brings_it(self):
        content = b"W" * MIB
        version = self.target.import_image(content)
        self.check(self.target.api.delete(f"/versions/{version}"), 204)
        link_id = str(uuid.uuid4())
        view = self.check(self.target.api.put(f"/links/{link_id}", self.target.link_body("early", version)), 200)
        self.assertFalse(view["ready"])
        self.assertIn(version, view["problem"])
        self.assertEqual(self.target.import_image(content), version)
        processes.wait_until(lambda: self.target.view(view)["ready"], "the link is ready")
        self.assertEqual(self.login(view).read(0, 1), b"W" * 512)

    def test_overlays_that_no_link_names_are_deleted_at_the_start(self):
        link = self.target.put_link("pc-001", self.version)
        self.login(link).write(0, b"P" * 512)
        orphan = self.target.state_dir / "overlays" / link["id"] / "lun0-g99"
        stranger = self.target.state_dir / "overlays" / str(uuid.uuid4()) / "lun0-g1"
        self.target.daemon.kill()
        for folder in (orphan, stranger):
            folder.mkdir(parents=True)
            (folder / "slots").write_bytes(bytes(4096))
        self.target.start()
        self.assertFalse(orphan.exists() or stranger.parent.exists())
        self.assertEqual(self.login(link).read(0, 1), b"P" * 512)

    def test_a_restart_of_the_host_ends_discard_generations_and_keeps_the_others(self):
        discard, keep = (self.target.put_link(policy, self.version, policy) for policy in ("discard", "keep"))
        boots = {}
        for link in (discard, keep):
            boots[link["id"]] = self.target.boot(link)
            session = self.login(link, boots[link["id"]]["username"], boots[link["id"]]["secret"])
            session.write(0, b"Q" * 4096)
            session.flush()
        self.target.daemon.kill()
        state = self.target.state_dir / "links.json"
        text = state.read_text()
        ours = processes.pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.assertEqual(text.count(ours), 1)
        state.write_text(text.replace(ours, str(uuid.uuid4())))  # as if written before a power cut
        self.target.start()
        with self.assertRaises(iscsi.LoginFailed):  # a system that ran on must not meet another disk
            self.login(discard, boots[discard["id"]]["username"], boots[discard["id"]]["secret"])
        self.assertEqual(self.login(discard).read(0, 8), self.image[:4096])
        kept = self.login(keep, boots[keep["id"]]["username"], boots[keep["id"]]["secret"])
        self.assertEqual(kept.read(0, 8), b"Q" * 4096)

    def refused_start(self, *arguments):
        done = subprocess.run([processes.binary("goldlink-target"), *map(str, arguments)], capture_output=True,
                              text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 1, done)
        self.assertNotIn("ready", done.stdout)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        return done.stderr

    def test_what_keeps_it_from_starting_is_said_once(self):
        said = self.refused_start("--state-dir", self.target.state_dir, "--control", f"unix:{self.folder}/b.sock",
                                  "--portal", "127.0.0.1:0")
        self.assertIn("in use", said)
        fresh = ["--state-dir", self.folder / "other", "--control"]
        self.assertIn("in use", self.refused_start(*fresh, f"unix:{self.target.socket}", "--portal", "127.0.0.1:0"))
        said = self.refused_start(*fresh, f"unix:{self.folder}/b.sock", "--portal", self.target.portal)
        self.assertIn(self.target.portal, said)
        self.assertIn("network", self.refused_start(*fresh, "0.0.0.0:9999", "--portal", "127.0.0.1:0"))
        self.target.daemon.stop()
        (self.target.state_dir / "links.json").write_text(
            '{"format":2,"host_boot_id":"x","revision":1,"links":[]}')
        said = self.refused_start("--state-dir", self.target.state_dir, "--control", f"unix:{self.folder}/b.sock",
                                  "--portal", "127.0.0.1:0")
        self.assertIn("start the newer program", said)


if __name__ == "__main__":
    unittest.main()
