"""Raw disks of the command line's machine against a running server: only the chunks travel that the other side
lacks, connections that break are taken up again, and what comes out is the very same version or file."""

import gzip
import os
import re
import signal
import subprocess
import unittest

from harness.proxy import CuttingProxy
from harness.up import module_folder, module_up, run_cli

MIB = 1 << 20
CHUNK = 64 << 10
QUICK = {"GOLDLINK_RETRY_PAUSE_MS": "1"}


def setUpModule():
    global folder, up
    folder = module_folder()
    up = module_up(folder)


def random_disk(size):
    data = bytearray(os.urandom(size))  # does not compress: what travels is what is counted
    data[510:512] = b"\x55\xaa"
    return data


class Case(unittest.TestCase):
    maxDiff = None

    def ok(self, *arguments, url=None, **options):
        done = run_cli(*arguments, url=url or up.url, token=up.token, **options)
        self.assertEqual(done.code, 0, f"goldlink {' '.join(map(str, arguments))}: {done}")
        return done

    def fails(self, *arguments, says=(), url=None, code=1, **options):
        done = run_cli(*arguments, url=url or up.url, token=up.token, **options)
        self.assertEqual(done.code, code, f"goldlink {' '.join(map(str, arguments))}: {done}")
        for text in says:
            self.assertIn(text, done.err)
        return done

    def proxy(self, **options):
        proxy = CuttingProxy(int(up.listen.rsplit(":", 1)[1]), **options)
        self.addCleanup(proxy.close)
        return proxy

    def image(self, name):
        return self.ok("image", "show", name, "--json").json

    def digest(self, name, number=1):
        return next(v["digest"] for v in self.image(name)["versions"] if v["number"] == number)

    def file(self, name, data):
        path = folder / name
        path.write_bytes(data)
        return path


class Import(Case):
    def test_it_makes_the_version_that_a_plain_import_makes(self):
        path = folder / "holes.raw"
        with open(path, "wb") as file:  # holes, written zeros, the same chunk twice, a ragged end
            same = os.urandom(CHUNK)
            for at in (0, 5 * CHUNK, 40 * MIB, 40 * MIB + 3 * CHUNK):
                file.seek(at)
                file.write(same)
            file.write(bytes(2 * MIB) + os.urandom(MIB + 100))
            file.seek(510)
            file.write(b"\x55\xaa")
            file.truncate(71 * MIB + 100)
        proxy = self.proxy()
        done = self.ok("image", "import", "holes", path, "--delta", url=proxy.url)
        self.assertIn("holes@1 is ready", done.out)
        self.assertIn("19 new chunks", done.out)  # of the four the first was made another
        self.assertLess(proxy.sent_bytes, 2 * MIB)
        self.ok("image", "import", "holes-plain", path)
        self.assertEqual(self.digest("holes"), self.digest("holes-plain"))
        self.assertEqual(self.image("holes")["versions"][0]["size_bytes"], 71 * MIB + 512)
        self.assertEqual(self.image("holes")["channels"], {"production": 1})
        self.assertEqual(self.image("holes")["kind"], "disk")

    def test_only_what_changed_travels(self):
        data = random_disk(24 * MIB)
        path = self.file("daily.raw", data)
        self.ok("image", "import", "daily", path)
        for chunk in (3, 100, 200, 383):  # four of 384: 1 %
            data[chunk * CHUNK:chunk * CHUNK + 100] = os.urandom(100)
        data[50 * CHUNK:51 * CHUNK] = bytes(CHUNK)
        path.write_bytes(data)
        proxy = self.proxy()
        done = self.ok("image", "import", "daily", path, "--delta", "--version-note", "tuesday", "--channel", "test",
                       "--json", url=proxy.url).json
        self.assertEqual((done["state"], done["subject"], done["sent_chunks"]), ("done", "daily@2", 4))
        # The chunks themselves, the questions and the manifest (32 bytes a chunk each), and HTTP's heads.
        self.assertLess(proxy.sent_bytes, 4 * CHUNK + 2 * 384 * 32 + 16_000)
        self.assertLessEqual(done["sent_bytes"], proxy.sent_bytes)
        print(f"1 % changed of {len(data)} bytes: {proxy.sent_bytes} bytes were sent")
        image = self.image("daily")
        self.assertEqual(image["channels"], {"production": 1, "latest": 2, "test": 2})
        self.assertEqual(next(v["note"] for v in image["versions"] if v["number"] == 2), "tuesday")
        out = folder / "daily.out"
        self.ok("image", "export", "daily@2", out)
        self.assertEqual(out.read_bytes(), data)

    def test_it_goes_on_over_connections_that_break(self):
        data = random_disk(8 * MIB)
        path = self.file("cut.raw", data)
        proxy = self.proxy(cut_every=2 * MIB, cuts=3)
        self.ok("image", "import", "cut", path, "--delta", url=proxy.url, environment=QUICK)
        self.assertEqual(proxy.left, 0, "the connection was cut as often as it should be")
        self.assertLess(proxy.sent_bytes, len(data) + 2 * MIB + 2 * 16 * CHUNK + 200_000)
        self.ok("image", "import", "cut-plain", path)
        self.assertEqual(self.digest("cut"), self.digest("cut-plain"))

    def test_it_goes_on_when_the_target_is_killed_on_the_way(self):
        data = random_disk(40 * MIB)  # two windows
        path = self.file("killed.raw", data)
        proxy = self.proxy(at=(36 * MIB, lambda: os.kill(up.children()["goldlink-target"], signal.SIGKILL)))
        done = self.ok("image", "import", "killed", path, "--delta", url=proxy.url)
        self.assertIsNone(proxy.at, "the target was killed while the disk was sent")
        self.assertIn("are sent again", done.err)
        self.assertIn("killed@1 is ready", done.out)
        self.ok("image", "import", "killed-plain", path)
        self.assertEqual(self.digest("killed"), self.digest("killed-plain"))

    def test_one_that_was_given_up_goes_on_where_it_was(self):
        data = random_disk(40 * MIB)  # two windows
        path = self.file("given-up.raw", data)
        broken = self.proxy(dies_after=35 * MIB)
        done = self.fails("image", "import", "given-up", path, "--delta", url=broken.url, environment=QUICK,
                          says=["importing", "--resume"])
        task = re.search("--resume ([0-9a-f-]{36})", done.err)[1]
        proxy = self.proxy()
        self.fails("image", "import", "other", path, "--delta", "--resume", task, says=["no import of other"])
        done = self.ok("image", "import", "given-up", path, "--delta", "--resume", task, url=proxy.url)
        self.assertIn("given-up@1 is ready", done.out)
        self.assertLess(proxy.sent_bytes, 8 * MIB, "what was sent is not sent again")
        self.fails("image", "import", "given-up", path, "--delta", "--resume", task, says=["leave --resume out"])
        self.ok("image", "import", "given-up-plain", path)
        self.assertEqual(self.digest("given-up"), self.digest("given-up-plain"))

    def test_what_is_no_raw_disk_is_refused_before_anything_is_sent(self):
        raw = self.file("plain.raw", random_disk(MIB))
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, folder / "x.qcow2"], check=True)
        subprocess.run(["qemu-img", "convert", "-O", "vhdx", raw, folder / "x.img"], check=True)
        self.fails("image", "import", "no", folder / "x.qcow2", "--delta", says=["is qcow2", "qemu-img convert"])
        self.fails("image", "import", "no", folder / "x.img", "--delta", says=["is vhdx"])
        self.fails("image", "import", "no", self.file("x.gz", gzip.compress(b"x" * 9)), "--delta", says=["is gzip"])
        odd = self.file("odd.raw", os.urandom(100) + bytes(MIB))
        self.fails("image", "import", "no", odd, "--delta", says=["no partition table"])
        self.fails("image", "import", "no", self.file("blank.raw", bytes(MIB)), "--delta", says=["no partition table", "format raw"])
        cut = bytearray(random_disk(MIB))
        cut[446:510] = bytes(64)
        cut[450:462] = b"\x07" + bytes(3) + (1).to_bytes(4, "little") + (MIB // 512).to_bytes(4, "little")
        self.fails("image", "import", "no", self.file("cut.raw", cut), "--delta", says=["was cut short", "format raw"])
        self.fails("image", "import", "no", self.file("empty.raw", b""), "--delta", says=["is empty"])
        self.fails("image", "import", "no", folder, "--delta", says=["neither a file nor a block device"])
        self.fails("image", "import", "no", folder / "none", "--delta", says=["cannot open"])
        for usage in (("--parent", raw), ("--format", "vhd"), ("--format", "iso")):
            self.fails("image", "import", "no", raw, "--delta", *usage, code=2)
        self.fails("image", "show", "no")
        self.ok("image", "import", "odd", odd, "--delta", "--format", "raw")
        self.ok("image", "import", "odd-plain", odd, "--format", "raw")
        self.assertEqual(self.digest("odd"), self.digest("odd-plain"))


class Export(Case):
    def two_versions(self, name, mebibytes=24):
        """An image whose second version changed a little, and both as they are on the disk."""
        old = random_disk(mebibytes * MIB)
        self.ok("image", "import", name, self.file(f"{name}.1", old))
        new = bytearray(old)
        for chunk in (0, 100, 110, mebibytes * 16 - 1):
            new[chunk * CHUNK + 1000:chunk * CHUNK + 1100] = os.urandom(100)
        new[70 * CHUNK:72 * CHUNK] = bytes(2 * CHUNK)
        new[80 * CHUNK:81 * CHUNK] = new[:CHUNK]  # a chunk that is fetched for two places
        new += os.urandom(CHUNK + 512)
        self.ok("image", "import", name, self.file(f"{name}.2", new), "--delta")
        return bytes(old), bytes(new)

    def test_only_what_the_file_lacks_travels(self):
        old, new = self.two_versions("back")
        path = self.file("back.raw", old)
        path.chmod(0o640)
        proxy = self.proxy()
        done = self.ok("image", "export", "back@2", path, "--delta", url=proxy.url)
        self.assertEqual(path.read_bytes(), new)
        self.assertEqual(path.stat().st_mode & 0o777, 0o640)
        self.assertIn("is back@2", done.out)
        self.assertIn("6 chunks that it lacked", done.out)
        self.assertLess(proxy.received_bytes, 7 * CHUNK + 400 * 32 + 16_000)
        print(f"{proxy.received_bytes} bytes came of {len(new)}")
        # Back to the shorter one, then again without a change: nothing but the manifest.
        self.ok("image", "export", "back@1", path, "--delta")
        self.assertEqual(path.read_bytes(), old)
        again = self.proxy()
        done = self.ok("image", "export", "back@1", path, "--delta", "--json", url=again.url).json
        self.assertEqual((done["subject"], done["received_chunks"]), ("back@1", 0))
        self.assertLess(again.received_bytes, 384 * 32 + 16_000)
        self.assertFalse(list(folder.glob("back.raw.*")))

    def test_a_file_that_is_not_there_yet_is_made(self):
        _, new = self.two_versions("fresh", 8)
        path = folder / "fresh.raw"
        self.ok("image", "export", "fresh@2", path, "--delta")
        self.assertEqual(path.read_bytes(), new)
        self.assertEqual(self.ok("image", "import", "fresh", path, "--delta", "--json").json["sent_chunks"], 0)
        self.assertEqual(self.digest("fresh", 3), self.digest("fresh", 2))

    def test_it_goes_on_over_connections_that_break(self):
        _, new = self.two_versions("breaks", 8)
        path = folder / "breaks.raw"
        proxy = self.proxy(cut_every=2 * MIB, cuts=3, cut_answers=True)
        self.ok("image", "export", "breaks@2", path, "--delta", url=proxy.url, environment=QUICK)
        self.assertEqual(proxy.left, 0)
        self.assertEqual(path.read_bytes(), new)

    def test_one_that_was_given_up_goes_on_and_the_old_file_is_there_until_then(self):
        old, new = self.two_versions("stopped", 8)
        self.ok("image", "import", "stopped", self.file("stopped.3", random_disk(8 * MIB) + new[8 * MIB:]), "--delta")
        path, part = self.file("stopped.raw", old), folder / "stopped.raw.part"
        broken = self.proxy(dies_after=6 * MIB, cut_answers=True)
        self.fails("image", "export", "stopped@3", path, "--delta", url=broken.url, environment=QUICK,
                   says=[f"kept in {part}"])
        self.assertEqual(path.read_bytes(), old)
        proxy = self.proxy()
        self.ok("image", "export", "stopped@3", path, "--delta", url=proxy.url)
        self.assertEqual(path.read_bytes(), (folder / "stopped.3").read_bytes())
        self.assertLess(proxy.received_bytes, 4 * MIB, "what came is not fetched again")
        self.assertFalse(part.exists())

    def test_refusals_say_why(self):
        self.ok("image", "import", "kept", self.file("kept.img", random_disk(MIB)))
        qcow2 = folder / "kept.raw"
        subprocess.run(["qemu-img", "create", "-f", "qcow2", qcow2, "1M"], check=True, capture_output=True)
        before = qcow2.read_bytes()
        self.fails("image", "export", "kept", qcow2, "--delta", says=["is qcow2", "--format raw"])
        self.assertEqual(qcow2.read_bytes(), before)
        self.fails("image", "export", "kept", folder / "kept.vhdx", "--delta", says=["--delta writes raw disks"])
        self.fails("image", "export", "kept@7", folder / "k", "--delta", says=["kept@7"])
        self.fails("image", "export", "none", folder / "k", "--delta", says=["none"])
        self.fails("image", "export", "kept", folder / "no" / "k", "--delta", says=["cannot create"])
        self.fails("image", "export", "kept", folder, "--delta", says=["neither a file nor a block device"])
        self.assertFalse(list(folder.glob("k*.part")))
        self.ok("image", "export", "kept", qcow2, "--delta", "--format", "raw")
        self.assertEqual(qcow2.read_bytes(), (folder / "kept.img").read_bytes())


class BlockDevice(Case):
    def loop(self, path):
        made = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            self.fail(f"this test needs a loop device (root, and no container that forbids them): {made.stderr.strip()}")
        device = made.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], check=False)
        return device

    def test_a_block_device_is_taken_and_written_in_place(self):
        data = random_disk(8 * MIB)
        data[3 * CHUNK:20 * CHUNK] = bytes(17 * CHUNK)
        self.ok("image", "import", "dev", self.file("dev.raw", data))
        changed = bytearray(data)
        changed[CHUNK:2 * CHUNK] = os.urandom(CHUNK)
        changed[5 * CHUNK:6 * CHUNK] = os.urandom(CHUNK)
        changed[90 * CHUNK:91 * CHUNK] = bytes(CHUNK)
        backing = self.file("dev.loop", changed)
        device = self.loop(backing)
        self.assertEqual(self.ok("image", "import", "dev", device, "--delta", "--json").json["sent_chunks"], 2)
        self.ok("image", "import", "dev-plain", backing)
        self.assertEqual(self.digest("dev", 2), self.digest("dev-plain"))
        # Back to the first version: zeros are written where there is data now.
        done = self.ok("image", "export", "dev@1", device, "--delta", "--json").json
        self.assertEqual(done["received_chunks"], 2)
        with open(device, "rb") as file:
            self.assertEqual(file.read(), bytes(data))
        small = self.loop(self.file("small.loop", bytes(MIB)))
        self.fails("image", "export", "dev@1", small, "--delta", says=["1048576 bytes", "take a larger one"])
        with open(small, "rb") as file:
            self.assertEqual(file.read(), bytes(MIB))


if __name__ == "__main__":
    unittest.main()
