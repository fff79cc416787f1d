"""The CLI's verbs against a running `goldlink up`: what they print, their JSON, their exit codes."""

import hashlib
import json
import os
import struct
import subprocess
import threading
import unittest
import uuid

from harness import iscsi
from harness.processes import Api, wait_until
from harness.up import module_folder, module_up, run_cli

MIB = 1 << 20
LINK_MEMBERS = {"id", "iqn", "portal", "lun", "username", "secret", "url", "policy", "image", "version"}


def setUpModule():
    global folder, up
    folder = module_folder()
    up = module_up(folder)


def make_disk(name, seed, mebibytes=4):
    """A raw disk with a partition table, its content decided by a seed: half of it zero, as disks are."""
    path = folder / name
    block = hashlib.shake_256(seed.encode()).digest(64 * 1024)
    with open(path, "wb") as file:
        for index in range(mebibytes * 16):
            file.write(block if index % 2 == 0 else bytes(64 * 1024))
        # One Linux partition of the rest, from 64 KiB on; the boot code and the other entries empty.
        file.seek(0)
        file.write(bytes(446) + struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\xff\xff\xff", 128,
                                            mebibytes * 2048 - 128) + bytes(48) + b"\x55\xaa")
    return path


class CliTestCase(unittest.TestCase):
    maxDiff = None

    def ok(self, *arguments, **options):
        done = up.cli(*arguments, **options)
        self.assertEqual(done.code, 0, f"goldlink {' '.join(map(str, arguments))}: {done}")
        return done

    def refused(self, *arguments, says=(), code=1, **options):
        done = up.cli(*arguments, **options)
        self.assertEqual(done.code, code, f"goldlink {' '.join(map(str, arguments))}: {done}")
        self.assertEqual(done.out, "")
        for text in says:
            self.assertIn(text, done.err)
        return done

    def image(self, name, mebibytes=4):
        self.ok("image", "import", name, make_disk(f"{name}.raw", name, mebibytes))
        return name


class Images(CliTestCase):
    def test_import_shows_progress_and_the_version_is_ready(self):
        done = self.ok("image", "import", "first", make_disk("first.raw", "first"), "--version-note", "as delivered")
        self.assertIn("sending first: 100 %", done.err)
        self.assertIn("ready", done.out)
        image = self.ok("image", "show", "first", "--json").json
        self.assertEqual(image["channels"], {"production": 1})
        version = image["versions"][0]
        self.assertEqual((version["state"], version["size_bytes"], version["note"]), ("ready", 4 * MIB, "as delivered"))
        self.assertRegex(version["digest"], "^[0-9a-f]{64}$")
        shown = self.ok("image", "show", "first").out
        self.assertIn("production@1", shown)
        self.assertIn(version["digest"][:12], shown)
        self.assertIn("as delivered", shown)
        self.assertEqual(self.ok("image", "show", "first@1", "--json").json["number"], 1)

    def test_import_as_json_gives_the_finished_task(self):
        task = self.ok("image", "import", "tasked", make_disk("tasked.raw", "tasked"), "--json").json
        self.assertEqual((task["kind"], task["state"], task["error"]), ("import", "done", None))
        self.assertEqual(self.ok("task", "show", task["id"], "--json").json["id"], task["id"])
        self.assertIn(task["id"], [t["id"] for t in self.ok("task", "ls", "--json").json])
        self.assertIn(task["id"], self.ok("task", "wait", task["id"]).out)

    def test_import_of_qcow2(self):
        raw = make_disk("source.raw", "qcow2")
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, folder / "source.qcow2"], check=True)
        self.ok("image", "import", "from-qcow2", folder / "source.qcow2")
        self.image("from-raw")
        self.ok("image", "import", "from-raw2", raw)
        digests = {name: self.ok("image", "show", name, "--json").json["versions"][0]["digest"]
                   for name in ("from-qcow2", "from-raw2")}
        self.assertEqual(digests["from-qcow2"], digests["from-raw2"])

    def test_a_file_that_is_no_such_image_fails_with_a_reason(self):
        path = folder / "broken.qcow2"
        path.write_bytes(b"this is no disk" * 1000)
        done = self.refused("image", "import", "broken", path, "--format", "qcow2")
        self.assertIn("does not begin as one", done.err)

    def test_promote_and_rollback_move_channels(self):
        self.image("moving")
        self.ok("image", "import", "moving", make_disk("moving2.raw", "moving2"), "--channel", "test")
        channels = lambda: self.ok("image", "show", "moving", "--json").json["channels"]  # noqa: E731
        self.assertEqual(channels()["production"], 1)
        self.assertEqual(channels()["test"], 2)
        self.assertIn("moving:production is version 2", self.ok("image", "promote", "moving").out)
        self.assertEqual(channels()["production"], 2)
        self.assertIn("moving:production is version 1", self.ok("image", "rollback", "moving").out)
        self.ok("image", "promote", "moving:test", "--channel", "production")
        self.assertEqual(channels()["production"], 2)
        self.ok("image", "rollback", "moving", "--to", "1")
        self.assertEqual(channels()["production"], 1)
        self.refused("image", "rollback", "moving", says=["no older version"])
        self.refused("image", "promote", "moving@9")

    def test_a_damaged_version_is_named_and_repaired(self):
        disk = make_disk("hurt.raw", "hurt")
        self.ok("image", "import", "hurt", disk)
        link = self.ok("link", "create", "--lease", "10m", "--image", "hurt", "--json").json
        head = disk.read_bytes()[:65536]
        for pack in (up.state_dir / "target/store/packs").iterdir():
            at = pack.read_bytes().find(head)
            if at >= 0:
                with open(pack, "r+b") as file:
                    file.seek(at + 1000)
                    file.write(bytes([head[1000] ^ 1]))
        done = up.cli("image", "verify", "hurt")
        self.assertEqual(done.code, 1)
        self.assertIn("is corrupt:\n  hurt@1 bytes 0 to 65535\n", done.out)
        self.assertIn(f"read by lease {link['id']}", done.out)
        self.assertIn("hurt@1 is damaged in 1 place", done.err)
        self.assertIn("goldlink image repair hurt@1 --from FILE", done.err)
        self.assertIn("hurt@1 is damaged: reads of 64 KiB of it fail: 1 corrupt chunk", self.ok("image", "show", "hurt").out)
        done = up.cli("image", "repair", "hurt", "--from", make_disk("other.raw", "other"))
        self.assertEqual(done.code, 1)
        self.assertIn("hurt@1 is still damaged in 1 place", done.err)
        done = self.ok("image", "repair", "hurt@1", "--from", disk)
        self.assertIn("had 1 of the 1 missing chunk", done.out)
        self.assertNotIn("damaged", self.ok("image", "show", "hurt").out)
        self.assertIn("there was nothing to mend", self.ok("image", "repair", "hurt", "--from", disk).out)
        self.refused("image", "repair", "hurt", code=2)
        self.ok("link", "rm", link["id"])

    def test_what_boots_read_is_read_ahead(self):
        self.image("warmed")
        self.refused("image", "prewarm", "warmed", says=["no boot of version", "let a client boot from it once"])
        self.assertIn("ready", self.ok("image", "show", "warmed").out)
        self.refused("image", "prewarm", "warmed@9")

    def test_a_pinned_image_stays_in_memory(self):
        self.image("ram")
        self.assertIn("ram:production is being read into memory", self.ok("image", "pin", "ram").out)
        shown = wait_until(lambda: (lambda out: "pinned" in out and out)(self.ok("image", "show", "ram").out), "it is pinned")
        self.assertRegex(shown, r"ram@1: pinned, \S+ \S+ of \S+ \S+ in memory")
        self.assertEqual(self.ok("image", "show", "ram", "--json").json["pinned_channels"], ["production"])
        self.assertIn("only as far as it is read", self.ok("image", "unpin", "ram:production").out)
        self.assertEqual(self.ok("image", "show", "ram", "--json").json["pinned_channels"], [])
        self.refused("image", "pin", "ram@1", says=["to do: pin a channel"])
        self.refused("image", "pin", "ram:none", says=["ram:none"])

    def test_verify_reads_all_of_a_sound_version(self):
        self.image("sound")
        done = self.ok("image", "verify", "sound")
        self.assertIn("sound@1 is sound", done.out)
        self.assertIn("verifying sound@1", done.err)

    def test_gc_gives_back_what_nobody_wants(self):
        for seed in ("tidy1", "tidy2", "tidy3"):
            self.ok("image", "import", "tidy", make_disk("tidy.raw", seed))
        self.ok("image", "promote", "tidy@1", "--channel", "production")
        dry = self.ok("gc", "--dry-run", "--keep-versions", "1", "--json").json
        item = next(item for item in dry["items"] if item["name"] == "tidy@2")
        self.assertEqual((item["kind"], item["bytes"], item["own_bytes"]), ("version", 128 * 1024, 128 * 1024))
        self.assertNotIn("tidy@2", self.ok("gc", "--dry-run").out, "versions of images stay unless it is said")
        shown = self.ok("gc", "--dry-run", "--keep-versions", "1").out
        self.assertRegex(shown, r"version +tidy@2 +128\.0 KiB +128\.0 KiB +superseded")
        self.assertIn("would come back", shown)
        self.assertEqual(len(self.ok("image", "show", "tidy", "--json").json["versions"]), 3)
        task = self.ok("gc", "--keep-versions", "1", "--json").json
        self.assertEqual((task["kind"], task["state"], task["result"]["kept"]), ("gc", "done", []))
        self.assertEqual([(item["name"], item["bytes"]) for item in task["result"]["items"] if item["name"].startswith("tidy")],
                         [("tidy@2", 128 * 1024)])
        self.assertEqual([v["number"] for v in self.ok("image", "show", "tidy", "--json").json["versions"]], [3, 1])
        for number in (1, 3):
            self.ok("image", "verify", f"tidy@{number}")
        self.assertIn("nothing went", self.ok("gc").out)
        self.refused("gc", "--keep-versions", "0", code=2)

    def test_gc_collects_what_the_registry_never_heard_of(self):
        # As after a registry was restored from a backup: the target has done what nobody remembers.
        self.image("remembered")
        control = Api(f"unix:{up.state_dir}/run/target.sock")
        content = os.urandom(4 * 65536)
        self.assertEqual(control.put("/uploads/forgotten.raw", content).status, 200)
        self.assertEqual(control.put("/uploads/left.raw", content).status, 200)
        task = {"id": str(uuid.uuid4()), "upload": "forgotten.raw", "format": "raw"}
        self.assertEqual(control.post("/imports", task).status, 202)
        digest = wait_until(lambda: control.get(f"/imports/{task['id']}").json.get("version"), "imported")["digest"]
        shown = self.ok("gc", "--dry-run").out
        self.assertRegex(shown, rf"version +{digest[:12]} +256\.0 KiB +256\.0 KiB +no image has it")
        self.assertRegex(shown, r"upload +left.raw +256\.0 KiB +- +no task waits for it")
        went = self.ok("gc", "--json").json["result"]
        self.assertEqual([(item["kind"], item["bytes"]) for item in went["items"]], [("version", 1 << 18), ("upload", 1 << 18)])
        self.assertNotIn(digest, [version["digest"] for version in control.get("/versions").json])
        self.assertEqual(control.get("/gc").json["uploads"], [])
        self.ok("image", "verify", "remembered")

    def test_list_and_remove(self):
        self.image("shortlived")
        self.assertIn("shortlived", self.ok("image", "ls").out)
        names = [image["name"] for image in self.ok("image", "ls", "--json").json]
        self.assertIn("shortlived", names)
        self.ok("image", "rm", "shortlived")
        self.refused("image", "show", "shortlived")

    def test_an_image_in_use_is_not_removed_and_the_reason_is_named(self):
        self.image("used")
        link = self.ok("link", "create", "--lease", "10m", "--image", "used", "--json").json
        done = self.refused("image", "rm", "used", says=["to do:"])
        self.assertIn("link", done.err)
        self.ok("link", "rm", link["id"])
        self.ok("image", "rm", "used")


    def test_an_image_is_cloned_and_grown(self):
        disk = make_disk("parts.raw", "parts", 8)
        subprocess.run(["sfdisk", "-q", disk], input="label: gpt\nsize=1MiB\n", text=True, check=True)
        self.ok("image", "import", "parts", disk)
        self.assertIn("parts-lab@1 is parts@1", self.ok("image", "clone", "parts", "parts-lab").out)
        self.refused("image", "clone", "parts@1", "parts-lab", says=["there is an image parts-lab already"])
        self.refused("image", "clone", "parts", "a:b", code=2)
        done = self.ok("image", "grow", "parts-lab", "24M", "--channel", "big")
        self.assertIn("parts-lab@2 is ready, parts-lab@1 as a disk of 24.0 MiB", done.out)
        versions = {image: self.ok("image", "show", image, "--json").json["versions"] for image in ("parts", "parts-lab")}
        self.assertEqual(versions["parts"][0]["digest"], versions["parts-lab"][1]["digest"])
        self.assertEqual([version["parent"] for version in versions["parts-lab"]], ["parts-lab@1", "parts@1"])
        link = self.ok("link", "create", "--lease", "10m", "--image", "parts-lab:big", "--json").json
        copy = folder / "grown.raw"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", link["url"], copy], check=True, capture_output=True)
        self.assertEqual(copy.stat().st_size, 24 * MIB)
        found = subprocess.run(["sfdisk", "-V", copy], capture_output=True, text=True, check=True)
        self.assertIn("No errors detected", found.stdout + found.stderr)
        self.refused("image", "grow", "parts-lab@2", "24M", says=["not smaller"])

    def test_a_channel_of_ones_own_is_made_moved_and_removed(self):
        self.image("own")
        self.ok("image", "promote", "own@1", "--channel", "exam-week.2")
        self.ok("image", "import", "own", make_disk("own2.raw", "own2"))
        link = self.ok("link", "create", "--lease", "10m", "--image", "own:exam-week.2", "--json").json
        pinned = self.ok("link", "create", "--lease", "10m", "--image", "own@1", "--json").json
        self.ok("image", "promote", "own", "--channel", "exam-week.2")
        self.assertEqual(self.ok("link", "show", link["id"], "--json").json["version"], 2)
        self.assertEqual(self.ok("link", "show", pinned["id"], "--json").json["version"], 1)
        self.refused("image", "rm", "own:exam-week.2", says=["lease"])
        self.refused("image", "rm", "own@1", says=["lease", "channel production"])
        self.ok("link", "rm", link["id"])
        self.ok("image", "rm", "own:exam-week.2")
        self.refused("image", "promote", "own", "--channel", "Exam Week", says=["no channel name"])


class Clients(CliTestCase):
    def test_add_show_list_set_remove(self):
        added = self.ok("client", "add", "C-1", "--mac", "52-54-00-AA-00-01", "--note", "by the door", "--json").json
        self.assertEqual(added["macs"], ["52:54:00:aa:00:01"])
        self.assertIn("by the door", self.ok("client", "show", "C-1").out)
        self.assertIn("none seen yet", self.ok("client", "show", "C-1").out)
        self.ok("client", "set", "C-1", "--name", "C-1b", "--mac", "52:54:00:aa:00:02", "--mac", "52:54:00:aa:00:03")
        changed = self.ok("client", "show", "C-1b", "--json").json
        self.assertEqual(sorted(changed["macs"]), ["52:54:00:aa:00:02", "52:54:00:aa:00:03"])
        self.assertIn("C-1b", self.ok("client", "ls").out)
        self.assertIn("C-1b", [c["name"] for c in self.ok("client", "ls", "--json").json])
        self.assertEqual(self.ok("client", "boots", "C-1b", "--json").json, [])
        self.ok("client", "rm", "C-1b")
        self.refused("client", "show", "C-1b")

    def test_a_mac_is_given_once(self):
        self.ok("client", "add", "M-1", "--mac", "52:54:00:aa:01:01")
        self.refused("client", "add", "M-2", "--mac", "52:54:00:aa:01:01", says=["M-1"])
        self.refused("client", "add", "M-1", "--mac", "52:54:00:aa:01:02")

    def test_import_of_a_room_is_all_or_none(self):
        room = folder / "room.csv"
        room.write_text("name,mac,group\nR-1,52:54:00:aa:02:01,\nR-2,52:54:00:aa:02:02,\n")
        self.assertIn("would add 2 clients", self.ok("client", "import", room, "--dry-run").out)
        self.refused("client", "show", "R-1")
        self.assertIn("added 2 clients", self.ok("client", "import", room).out)
        self.ok("client", "show", "R-2")
        room.write_text("name,mac,group\nR-3,52:54:00:aa:02:03,\nR-4,nonsense,\n")
        done = self.refused("client", "import", room)
        self.assertIn("line 3", done.err)
        self.refused("client", "show", "R-3")

    def test_copy_takes_group_note_image_and_policy(self):
        self.image("copied")
        self.ok("group", "add", "row-1")
        self.ok("client", "add", "O-1", "--mac", "52:54:00:aa:03:01", "--group", "row-1", "--note", "left")
        self.ok("link", "create", "--client", "O-1", "--image", "copied", "--policy", "keep")
        copy = self.ok("client", "copy", "O-1", "O-2", "--mac", "52:54:00:aa:03:02", "--json").json
        original = self.ok("client", "show", "O-1", "--json").json
        for member in ("group", "note", "image", "policy"):
            self.assertEqual(copy[member], original[member])
        self.assertNotEqual(copy["link_id"], original["link_id"])
        self.refused("client", "copy", "nobody", "O-3", "--mac", "52:54:00:aa:03:03")

    def test_wake_names_the_macs(self):
        self.ok("client", "add", "W-1", "--mac", "52:54:00:aa:04:01")
        self.assertIn("52:54:00:aa:04:01", self.ok("client", "wake", "W-1").out)

    def test_groups(self):
        self.image("grouped")
        self.ok("group", "add", "lab", "--image", "grouped", "--policy", "discard", "--names", "LAB-{n:03}")
        group = self.ok("group", "show", "lab", "--json").json
        self.assertEqual((group["image"], group["policy"], group["naming_pattern"]), ("grouped:production", "discard", "LAB-{n:03}"))
        self.ok("group", "set", "lab", "--policy", "keep", "--no-image")
        self.assertIsNone(self.ok("group", "show", "lab", "--json").json["image"])
        self.ok("client", "add", "G-1", "--mac", "52:54:00:aa:05:01", "--group", "lab")
        self.refused("group", "rm", "lab", says=["G-1"])
        self.ok("client", "set", "G-1", "--no-group")
        self.ok("group", "rm", "lab")
        self.assertNotIn("lab", [g["name"] for g in self.ok("group", "ls", "--json").json])


class Links(CliTestCase):
    def iscsi(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def test_a_lease_gives_a_url_that_works_at_once(self):
        disk = make_disk("leased.raw", "leased")
        self.ok("image", "import", "leased", disk)
        link = self.ok("link", "create", "--lease", "10m", "--image", "leased", "--json").json
        self.assertLessEqual(LINK_MEMBERS, set(link))
        self.assertEqual((link["image"], link["version"], link["policy"], link["lun"]), ("leased", 1, "discard", 0))
        self.assertEqual(link["portal"], up.portal)
        self.assertEqual(link["url"], f"iscsi://{link['username']}%{link['secret']}@{link['portal']}/{link['iqn']}/0")
        self.assertNotIn(link["iqn"], self.iscsi("iscsi-ls", f"iscsi://{link['portal']}"))
        proved = f"iscsi://{link['username']}%{link['secret']}@{link['portal']}"
        self.assertIn(link["iqn"], self.iscsi("iscsi-ls", proved))
        self.assertIn("DIRECT_ACCESS", self.iscsi("iscsi-inq", link["url"]))
        # What is read is what was imported, and what is written is read again.
        copy = folder / "copy.raw"
        self.iscsi("qemu-img", "convert", "-f", "raw", "-O", "raw", link["url"], copy)
        self.assertEqual(copy.read_bytes(), disk.read_bytes())
        self.iscsi("qemu-io", "-f", "raw", "-c", "write -P 0x5a 64k 64k", "-c", "flush", link["url"])
        self.assertIn("read 65536/65536", self.iscsi("qemu-io", "-f", "raw", "-c", "read -P 0x5a 64k 64k", link["url"]))
        again = self.ok("link", "show", link["id"], "--json").json
        self.assertEqual({m: again[m] for m in LINK_MEMBERS}, {m: link[m] for m in LINK_MEMBERS})
        self.assertGreaterEqual(again["overlay"]["used_bytes"], 64 * 1024)

        self.ok("link", "reset", link["id"])
        self.assertNotIn("Pattern verification failed",
                         self.iscsi("qemu-io", "-f", "raw", "-c", "read -P 0x00 64k 64k", link["url"]))
        self.ok("link", "rm", link["id"])
        gone = subprocess.run(["iscsi-inq", link["url"]], capture_output=True, timeout=60, check=False)
        self.assertNotEqual(gone.returncode, 0)

    def test_a_wrong_secret_does_not_open_a_link(self):
        self.image("guarded")
        link = self.ok("link", "create", "--lease", "10m", "--image", "guarded", "--json").json
        wrong = link["url"].replace(f"%{link['secret']}@", "%wrong-wrong-wr@")
        self.assertNotEqual(wrong, link["url"])
        done = subprocess.run(["iscsi-inq", wrong], capture_output=True, timeout=60, check=False)
        self.assertNotEqual(done.returncode, 0)

    def test_a_client_link_by_reference(self):
        self.image("refs")
        self.ok("image", "import", "refs", make_disk("refs2.raw", "refs2"), "--channel", "test")
        self.ok("client", "add", "L-1", "--mac", "52:54:00:aa:06:01")
        self.refused("link", "create", "--client", "L-1", "--image", "refs@7", says=["refs"])
        self.refused("link", "create", "--client", "nobody", "--image", "refs", says=["nobody"])
        self.refused("link", "create", "--client", "L-1", "--image", "nothing", says=["nothing"])
        link = self.ok("link", "create", "--client", "L-1", "--image", "refs:test", "--policy", "keep", "--json").json
        self.assertEqual((link["client"], link["channel"], link["version"], link["policy"]), ("L-1", "test", 2, "keep"))
        self.assertIn("refs:test (2)", self.ok("link", "ls", "--client", "L-1").out)
        self.assertEqual([l["id"] for l in self.ok("link", "ls", "--image", "refs", "--json").json], [link["id"]])
        shown = self.ok("link", "show", link["id"]).out
        for text in (link["iqn"], link["url"], "keep", "L-1"):
            self.assertIn(text, shown)
        self.refused("link", "show", "00000000-0000-4000-8000-000000000000")


    def test_a_link_of_several_disks(self):
        for name in ("disks-system", "disks-games", "disks-personal"):
            self.image(name, mebibytes=2)
        self.ok("client", "add", "D-1", "--mac", "52:54:00:aa:08:01")
        link = self.ok("link", "create", "--client", "D-1", "--image", "disks-system", "--disk", "1=disks-personal,keep",
                       "--disk", "2=disks-games@1", "--json").json
        self.assertEqual([(disk["lun"], disk["image"], disk["policy"]) for disk in link["disks"]],
                         [(0, "disks-system", "discard"), (1, "disks-personal", "keep"), (2, "disks-games", "discard")])
        self.assertEqual(link["disks"][2]["url"], link["url"].removesuffix("/0") + "/2")
        for disk in link["disks"]:
            self.iscsi("qemu-io", "-f", "raw", "-c", f"write -P {disk['lun'] + 1} 64k 64k", "-c", "flush", disk["url"])
        shown = self.ok("link", "show", link["id"]).out
        self.assertIn("disks-personal:production (1), keep, 64.0 KiB of", shown)
        self.assertIn("disks-games@1, discard, 64.0 KiB of", shown)
        wait_until(lambda: not self.ok("link", "show", link["id"], "--json").json["sessions"], "nobody is logged in")
        self.assertIn("LUN 1 of", self.ok("link", "reset", link["id"], "--lun", "1").out)
        used = [disk["overlay"]["used_bytes"] for disk in self.ok("link", "show", link["id"], "--json").json["disks"]]
        self.assertEqual(used, [65536, 0, 65536])
        self.refused("link", "reset", link["id"], "--lun", "9", says=["no disk with lun 9"])
        self.refused("link", "commit", link["id"], says=["lun 1 keep"])
        self.refused("image", "rm", "disks-games", says=["D-1"])
        self.refused("link", "create", "--lease", "1m", "--image", "disks-system", "--disk", "1=nothing", says=["nothing"])
        self.refused("link", "create", "--lease", "1m", "--image", "disks-system", "--disk", "1=disks-games",
                     "--disk", "1=disks-personal", says=["lun 1 is given twice"])
        self.ok("client", "copy", "D-1", "D-2", "--mac", "52:54:00:aa:08:02")
        copy = self.ok("link", "ls", "--client", "D-2", "--json").json[0]
        self.assertEqual([(disk["lun"], disk["image"], disk["policy"], disk["channel"]) for disk in copy["disks"]],
                         [(disk["lun"], disk["image"], disk["policy"], disk["channel"]) for disk in link["disks"]])


    def test_a_running_disk_is_saved_as_a_version_and_as_an_image(self):
        self.image("classroom")
        link = self.ok("link", "create", "--lease", "10m", "--image", "classroom", "--json").json
        self.iscsi("qemu-io", "-f", "raw", "-c", "write -P 7 128k 64k", link["url"])
        host, port = link["portal"].rsplit(":", 1)
        initiator = iscsi.Initiator(f"{host}:{port}", isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], link["username"], link["secret"])
        saved = self.ok("link", "save", link["id"], "--as", "classroom-exam", "--version-note", "before the exam")
        self.assertIn("classroom-exam@1 is ready", saved.out)
        self.assertIn("power cut", saved.err)
        initiator.logout()
        wait_until(lambda: not self.ok("link", "show", link["id"], "--json").json["sessions"], "nobody is logged in")
        task = self.ok("link", "save", link["id"], "--channel", "test", "--json").json
        self.assertEqual((task["subject"], task["result"]["live"]), ("classroom@2", False))
        self.assertEqual(self.ok("image", "show", "classroom@2", "--json").json["parent"], "classroom@1")
        self.refused("link", "save", link["id"], "--as", "classroom-exam", says=["there is an image classroom-exam already"])
        copy = self.ok("link", "create", "--lease", "10m", "--image", "classroom-exam", "--json").json
        self.iscsi("qemu-io", "-f", "raw", "-c", "read -P 7 128k 64k", copy["url"])

    def test_a_damaged_disk_is_verified_and_salvaged(self):
        self.image("workshop")
        self.ok("client", "add", "PC-BAD", "--mac", "52:54:00:00:bd:01")
        link = self.ok("link", "create", "--client", "PC-BAD", "--image", "workshop", "--policy", "keep", "--json").json
        self.iscsi("qemu-io", "-f", "raw", "-c", "write -P 7 128k 64k", "-c", "flush", link["url"])
        wait_until(lambda: not self.ok("link", "show", link["id"], "--json").json["sessions"], "nobody is logged in")
        self.assertIn("every block is as it was written", self.ok("link", "verify", link["id"]).out)
        [slots] = [path for path in up.state_dir.rglob("slots") if link["id"] in str(path)]
        with open(slots, "r+b") as file:
            file.seek(file.read().index(b"\7" * 4096) + 100)
            file.write(b"\0")
        found = up.cli("link", "verify", link["id"])
        self.assertEqual(found.code, 1, found)
        self.assertIn("bad: 4096 bytes at 131072", found.out)
        self.assertIn("goldlink link salvage", found.err)
        self.refused("link", "save", link["id"], says=["do not hold what was written", "link salvage"])
        made = self.ok("link", "salvage", link["id"], "--as", "workshop-salvaged")
        self.assertIn("lost: 4096 bytes at 131072", made.out)
        copy = self.ok("link", "create", "--lease", "10m", "--image", "workshop-salvaged", "--json").json
        self.iscsi("qemu-io", "-f", "raw", "-c", "read -P 7 132k 60k", copy["url"])

    def test_two_super_links_conflict_and_the_admin_chooses(self):
        self.image("golden")
        one, other = (self.ok("link", "create", "--lease", "10m", "--image", "golden", "--policy", "super", "--json").json
                      for _ in range(2))
        for link in (one, other):
            self.iscsi("qemu-io", "-f", "raw", "-c", "write -P 9 64k 8k", "-c", "write -P 9 1M 4k", "-c", "flush", link["url"])
            wait_until(lambda: not self.ok("link", "show", link["id"], "--json").json["sessions"], "nobody is logged in")  # noqa: B023
        self.assertIn("golden@2 is ready", self.ok("link", "commit", other["id"], "--channel", "test").out)
        self.assertEqual(self.ok("image", "show", "golden", "--json").json["channels"], {"production": 1, "latest": 2, "test": 2})
        refused = self.refused("link", "commit", one["id"], says=["golden@2", "12288 bytes in 2 places", "--sibling", "abandon"])
        self.assertIn(f"in the way: golden@2 of lease {other['id']}", refused.err)
        self.assertIn("golden@3 is ready", self.ok("link", "commit", one["id"], "--sibling").out)
        self.iscsi("qemu-io", "-f", "raw", "-c", "write -P 3 64k 8k", "-c", "flush", one["url"])
        wait_until(lambda: not self.ok("link", "show", one["id"], "--json").json["sessions"], "nobody is logged in")
        self.assertIn("starts from golden@1", self.ok("link", "abandon", one["id"]).out)
        self.assertEqual(self.ok("link", "show", one["id"], "--json").json["overlay"]["used_bytes"], 0)
        plain = self.ok("link", "create", "--lease", "10m", "--image", "golden", "--json").json
        self.refused("link", "abandon", plain["id"], says=["no super disk", "link reset"])

    def test_a_link_that_keeps_is_taken_to_a_newer_version(self):
        self.image("lesson")
        link = self.ok("link", "create", "--lease", "10m", "--image", "lesson", "--policy", "keep", "--json").json
        idle = lambda: wait_until(  # noqa: E731
            lambda: not self.ok("link", "show", link["id"], "--json").json["sessions"], "nobody is logged in")
        self.iscsi("qemu-io", "-f", "raw", "-c", "write -P 9 64k 8k", "-c", "flush", link["url"])
        idle()
        content = make_disk("lesson.raw", "lesson").read_bytes()
        (folder / "lesson2.raw").write_bytes(content[:4096] + b"\5" * 4096 + content[8192:])
        self.ok("image", "import", "lesson", folder / "lesson2.raw", "--version-note", "May")
        self.assertIn("on that version already", self.ok("link", "rebase", link["id"]).out)
        self.assertNotIn("newer", self.ok("link", "show", link["id"]).out)
        self.ok("image", "promote", "lesson@2")
        self.assertIn(f"newer     lesson:production is @2 now, LUN 0 stays on @1: goldlink link rebase {link['id']}\n",
                      self.ok("link", "show", link["id"]).out)
        shown = self.ok("link", "rebase", link["id"]).out
        for line in ("on        lesson@1", "newer     lesson@2, as channel production (May)", "written   8.0 KiB by lease",
                     "by both   nothing\n\n--take fresh", "--take fresh: the disk starts from lesson@2; everything the lease wrote to it is dropped",
                     "--take written: what the lease wrote stays"):
            self.assertIn(line, shown)
        self.assertEqual(self.ok("link", "rebase", link["id"], "--json").json["overlap"]["mine_bytes"], 8192)
        self.assertIn("what was written lies over lesson@2 now", self.ok("link", "rebase", link["id"], "--take", "written").out)
        self.iscsi("qemu-io", "-f", "raw", "-c", "read -P 9 64k 8k", "-c", "read -P 5 4k 4k", "-c", "write -P 8 4k 4k", "-c", "flush", link["url"])
        idle()
        # Back, where both changed the same block: fresh, or by force.
        refused = self.refused("link", "rebase", link["id"], "--onto", "lesson@1", "--take", "written",
                               says=["4096 bytes in 1 place", "--take fresh", "--force"])
        self.assertIn("to do", refused.err)
        fresh = self.ok("link", "rebase", link["id"], "--onto", "lesson@1", "--take", "fresh")
        self.assertIn("dropping 12.0 KiB that the lease wrote over lesson@2", fresh.err)
        self.assertIn("the disk starts from lesson@1", fresh.out)
        after = self.ok("link", "show", link["id"], "--json").json
        self.assertEqual((after["version"], after["channel"], after["overlay"]["used_bytes"]), (1, None, 0))
        self.refused("link", "rebase", link["id"], says=["follows no channel", "lesson@VERSION"])
        self.image("poem")
        self.refused("link", "rebase", link["id"], "--onto", "poem", says=["poem is another image"])
        plain = self.ok("link", "create", "--lease", "10m", "--image", "lesson", "--json").json
        self.refused("link", "rebase", plain["id"], says=["next boot"])

    def test_what_fills_an_overlay_is_shown(self):
        self.image("filled")
        link = self.ok("link", "create", "--lease", "10m", "--image", "filled", "--json").json
        self.assertIn("0 B written", self.ok("link", "show", link["id"], "--usage").out)
        # The disk's own table, a file system that is only named, and one whose file is told.
        whole = folder / "filled.ext4"
        with open(whole, "wb") as file:
            file.truncate(3 * MIB)
        (folder / "saved.dat").write_bytes(os.urandom(300_000))
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", whole], check=True, capture_output=True)
        subprocess.run(["debugfs", "-w", "-R", f"write {folder / 'saved.dat'} saved.dat", whole], check=True, capture_output=True)
        self.iscsi("qemu-io", "-f", "raw", "-c", f"write -s {whole} 64k 3M", "-c", "write -P 9 8k 4k", "-c", "flush", link["url"])
        wait_until(lambda: not self.ok("link", "show", link["id"], "--json").json["sessions"], "nobody is logged in")
        usage = self.ok("link", "show", link["id"], "--usage", "--json").json
        self.assertEqual([(each["number"], each["file_system"]) for each in usage["partitions"]], [(1, "ext4")])
        self.assertEqual(usage["partitions"][0]["files"], [{"path": "/saved.dat", "written_bytes": 303104, "size_bytes": 300000}])
        shown = self.ok("link", "show", link["id"], "--usage", "--lun", "0").out
        self.assertRegex(shown, r"lease, LUN 0, filled, discard: .* written")
        self.assertRegex(shown, r"partition 1  ext4 of 3.9 MiB .* #+-* +\d+ %")
        self.assertRegex(shown, r"outside +of partitions +4.0 KiB")
        self.assertRegex(shown, r"296.0 KiB +[#-]{20} +\d+ % +293.0 KiB +/saved.dat")
        self.assertIn("of the file system itself", shown)
        self.assertNotIn("saved.dat", self.ok("link", "show", link["id"], "--usage", "--files", "0").out)
        self.refused("link", "show", link["id"], "--files", "3", code=2)
        self.refused("link", "show", link["id"], "--usage", "--lun", "1", says=["no disk with lun 1"])

    def test_an_installer_beside_a_blank_disk(self):
        disc = bytearray(os.urandom(300 * 2048))
        disc[16 * 2048:16 * 2048 + 7] = b"\x01CD001\x01"
        (folder / "setup.iso").write_bytes(disc)
        self.ok("image", "import", "setup", folder / "setup.iso", "--format", "iso")
        self.assertIn("setup-blank@1 is ready, a blank disk of 2.0 GiB",
                      self.ok("image", "create", "setup-blank", "--size", "2G").out)
        self.assertEqual(self.ok("image", "show", "setup", "--json").json["kind"], "iso")
        self.refused("image", "import", "setup", make_disk("setup.raw", "setup"), says=["kind iso"])
        self.refused("image", "import", "not-a-disc", make_disk("setup.raw", "setup"), "--format", "iso", says=["no ISO image"])
        self.ok("client", "add", "I-1", "--mac", "52:54:00:aa:09:01")
        self.refused("link", "create", "--client", "I-1", "--image", "setup-blank", "--install", says=["format iso"])
        link = self.ok("link", "create", "--client", "I-1", "--image", "setup-blank", "--policy", "super", "--4kn",
                       "--disk", "1=setup", "--install", "--json").json
        self.assertTrue(link["install"])
        self.assertIn("Removable:1", self.iscsi("iscsi-inq", link["disks"][1]["url"]))
        self.assertIn("LOGICAL BLOCK LENGTH IN BYTES:4096", self.iscsi("iscsi-readcapacity16", link["url"]))
        initiator = iscsi.Initiator(link["portal"])
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], link["username"], link["secret"])
        self.assertEqual(initiator.read(0, 16, block_bytes=4096), bytes(65536))
        for lba in range(0, 256, 16):
            initiator.write(lba, b"\7" * 65536, block_bytes=4096)
        initiator.logout()
        shown = self.ok("link", "show", link["id"]).out
        self.assertIn("setup:production (1), CD-ROM", shown)
        self.assertIn("super, 4Kn, 1.0 MiB of", shown)
        self.assertIn("starts its disk", self.ok("link", "set", link["id"], "--no-install").out)
        self.assertFalse(self.ok("link", "show", link["id"], "--json").json["install"])
        wait_until(lambda: not self.ok("link", "show", link["id"], "--json").json["sessions"], "nobody is logged in")
        self.assertIn("setup-blank@2 is ready", self.ok("link", "commit", link["id"]).out)
        self.ok("client", "copy", "I-1", "I-2", "--mac", "52:54:00:aa:09:02")
        copy = self.ok("link", "ls", "--client", "I-2", "--json").json[0]
        self.assertEqual([(disk["type"], disk["logical_block_bytes"]) for disk in copy["disks"]], [("disk", 4096), ("cdrom", 2048)])


class Rest(CliTestCase):
    def test_status(self):
        status = self.ok("status", "--json").json
        self.assertEqual(status["health"]["status"], "ok")
        self.assertEqual(status["status"]["portal"], up.portal)
        shown = self.ok("status").out
        for text in ("database  ok", "target    ok", "pxe       off", up.url, up.portal):
            self.assertIn(text, shown)

    def test_tokens_have_roles(self):
        token = self.ok("token", "create", "watcher", "--role", "viewer", "--expires", "1h", "--json").json
        self.assertIn("watcher, role viewer", run_cli("token", "show", url=up.url, token=token["token"]).out)
        denied = run_cli("client", "add", "T-1", "--mac", "52:54:00:aa:07:01", url=up.url, token=token["token"])
        self.assertEqual(denied.code, 1, denied)
        self.assertIn("viewer", denied.err)
        self.assertIn("watcher", self.ok("token", "ls").out)
        self.ok("token", "rm", token["id"])
        revoked = run_cli("client", "ls", url=up.url, token=token["token"])
        self.assertEqual(revoked.code, 1, revoked)
        self.assertIn("the token of GOLDLINK_TOKEN", revoked.err)

    def test_the_token_comes_from_where_it_should(self):
        for options in ({"environment": {"GOLDLINK_STATE_DIR": str(up.state_dir)}},
                        {"environment": {"STATE": str(up.state_dir)}}):
            self.assertEqual(run_cli("client", "ls", url=up.url, **options).code, 0, options)
        self.assertEqual(run_cli("client", "ls", "--token-file", up.token_path, "--url", up.url).code, 0)
        # GOLDLINK_TOKEN goes before the file.
        done = run_cli("client", "ls", "--token-file", up.token_path, url=up.url, token="nonsense")
        self.assertEqual(done.code, 1, done)
        without = run_cli("client", "ls", url=up.url, environment={"STATE": str(folder)})
        if not os.access("/var/lib/goldlink/admin.token", os.R_OK):
            self.assertEqual(without.code, 1, without)
            self.assertIn("no token was found", without.err)

    def test_the_token_of_the_state_folder_goes_to_this_machine_alone(self):
        done = run_cli("client", "ls", url="http://no-such-host.invalid:8080", environment={"STATE": str(up.state_dir)})
        self.assertEqual(done.code, 1, done)
        self.assertIn("admin.token is not sent to http://no-such-host.invalid:8080", done.err)

    def test_events_follow_what_happens(self):
        last = [event["id"] for event in map(json.loads, self.ok("events", "--json").out.splitlines())]
        self.assertEqual(last, sorted(last))
        follow = subprocess.Popen(
            [up.arguments[0], "events", "--follow", "--json", "--after", str(last[-1] if last else 0), "--url", up.url,
             "--token-file", up.token_path], stdout=subprocess.PIPE, text=True)
        self.addCleanup(follow.stdout.close)
        self.addCleanup(follow.wait)
        self.addCleanup(follow.terminate)
        seen = []
        reader = threading.Thread(target=lambda: seen.extend(iter(follow.stdout.readline, "")), daemon=True)
        reader.start()
        self.image("eventful")
        link = self.ok("link", "create", "--lease", "10m", "--image", "eventful", "--json").json
        subprocess.run(["iscsi-inq", link["url"]], check=True, capture_output=True, timeout=60)
        wait_until(lambda: any('"login"' in line and link["id"] in line for line in seen),
                   "the login's event", timeout_seconds=30)


if __name__ == "__main__":
    unittest.main()
