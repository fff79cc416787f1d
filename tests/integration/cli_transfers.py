"""Image files in and out by the CLI against a running `goldlink up`: files that refer to others, compressed
ones, files of the server, uploads that break and go on, and exports that import again as the same version."""

import hashlib
import os
import shutil
import subprocess
import unittest

from harness.processes import wait_until
from harness.proxy import CuttingProxy
from harness.up import module_folder, module_up, run_cli

MIB = 1 << 20


def setUpModule():
    global folder, served, up
    folder = module_folder()
    served = folder / "served"
    served.mkdir()
    up = module_up(folder, ("--import-dir", served))


def make_disk(name, mebibytes=6):
    """A raw disk with a boot signature: random data with zeroes between, as disks are."""
    path = folder / name
    with open(path, "wb") as file:
        for index in range(mebibytes * 4):
            file.write(os.urandom(256 << 10) if index % 3 != 1 else bytes(256 << 10))
        file.seek(510)
        file.write(b"\x55\xaa")
    return path


def tool(*arguments):
    subprocess.run([str(argument) for argument in arguments], check=True, capture_output=True)


class Transfers(unittest.TestCase):
    maxDiff = None

    def ok(self, *arguments, **options):
        done = up.cli(*arguments, **options)
        self.assertEqual(done.code, 0, f"goldlink {' '.join(map(str, arguments))}: {done}")
        return done

    def refused(self, *arguments, says=(), code=1):
        done = up.cli(*arguments)
        self.assertEqual(done.code, code, f"goldlink {' '.join(map(str, arguments))}: {done}")
        for text in says:
            self.assertIn(text, done.err)
        return done

    def digest(self, name):
        return self.ok("image", "show", name, "--json").json["versions"][0]["digest"]

    def nothing_spooled(self):
        uploads = up.state_dir / "target" / "uploads"
        wait_until(lambda: not list(uploads.iterdir()), "the spool is empty again")

    def test_an_image_over_parents(self):
        raw = make_disk("base.raw")
        base, top = folder / "base.qcow2", folder / "top.qcow2"
        tool("qemu-img", "convert", "-O", "qcow2", raw, base)
        tool("qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", base, top)
        tool("qemu-io", "-c", "write -P 0x42 1M 64k", top)
        self.ok("image", "import", "over", top, "--parent", base)
        tool("qemu-img", "convert", "-O", "raw", top, folder / "top.raw")
        self.ok("image", "import", "over-raw", folder / "top.raw")
        self.assertEqual(self.digest("over"), self.digest("over-raw"))
        self.refused("image", "import", "alone", top, says=["base.qcow2", "--parent"])
        self.refused("image", "import", "gone", top, "--parent", folder / "none.qcow2", says=["cannot open"])
        (folder / "other").mkdir()
        shutil.copy(base, folder / "other" / "top.qcow2")
        self.refused("image", "import", "same", top, "--parent", folder / "other" / "top.qcow2", says=["two of the files"])
        self.nothing_spooled()

    def test_a_split_vmdk_is_sent_with_its_extents(self):
        raw = make_disk("split.raw")
        (folder / "vm").mkdir()
        tool("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", raw, folder / "vm" / "pc.vmdk")
        self.ok("image", "import", "split", folder / "vm" / "pc.vmdk")
        self.ok("image", "import", "split-raw", raw)
        self.assertEqual(self.digest("split"), self.digest("split-raw"))
        (folder / "vm" / "pc-s001.vmdk").rename(folder / "pc-s001.vmdk")
        self.refused("image", "import", "split", folder / "vm" / "pc.vmdk", says=["cannot open", "pc-s001.vmdk"])
        # What it names is read by the admin's own program, which opens nothing outside the folder either.
        (folder / "vm" / "trap.vmdk").write_text('# Disk DescriptorFile\nRW 10 FLAT "/etc/passwd" 0\n')
        self.refused("image", "import", "split", folder / "vm" / "trap.vmdk", says=["no plain file name"])

    def test_compressed_images(self):
        raw = make_disk("packed.raw")
        self.ok("image", "import", "packed", raw)
        for program in ("gzip", "xz", "zstd"):
            with open(folder / f"packed.{program}", "wb") as out:
                subprocess.run([program, "-c", raw], stdout=out, check=True)
            self.ok("image", "import", f"packed-{program}", folder / f"packed.{program}")
            self.assertEqual(self.digest(f"packed-{program}"), self.digest("packed"))

    def test_exports_import_again_as_the_same_version(self):
        raw = make_disk("out.raw")  # whole MiB: VHDX counts in them
        self.ok("image", "import", "out", raw)
        for ending in ("raw", "raw.zst", "vhd", "vhdx", "vmdk", "qcow2"):
            file = folder / f"exported.{ending}"
            self.assertIn("out@1 as " + ending, self.ok("image", "export", "out", file).out)
            self.ok("image", "import", f"again-{ending}", file)
            self.assertEqual(self.digest(f"again-{ending}"), self.digest("out"), ending)
        self.assertEqual((folder / "exported.raw").read_bytes(), raw.read_bytes())
        done = self.ok("image", "export", "out", folder / "hashed.qcow2", "--json").json
        self.assertEqual(done["result"]["sha256"], hashlib.sha256((folder / "hashed.qcow2").read_bytes()).hexdigest())
        self.refused("image", "export", "out@1", folder / "exported.raw", says=["exists already"])
        self.refused("image", "export", "out@7", folder / "x.raw")
        self.refused("image", "export", "out", folder / "none" / "x.raw", says=["cannot create"])
        self.assertFalse(list(folder.glob("*.part")))
        self.assertFalse(list((up.state_dir / "target" / "exports").iterdir()), "fetched exports are dropped")

    def test_a_file_of_the_server(self):
        raw = make_disk("there.raw")
        shutil.copy(raw, served / "there.raw")
        self.ok("image", "import", "there", "--server-path", served / "there.raw")
        self.ok("image", "import", "here", raw)
        self.assertEqual(self.digest("there"), self.digest("here"))
        shutil.copy(raw, up.state_dir / "import" / "there.raw")
        self.ok("image", "import", "there", "--server-path", up.state_dir / "import" / "there.raw")
        (served / "link.raw").symlink_to(raw)
        (served / "down").symlink_to(folder)
        self.refused("image", "import", "no", "--server-path", raw, says=["no folder that this server imports from"])
        self.refused("image", "import", "no", "--server-path", served / ".." / "there.raw", says=["no folder"])
        self.refused("image", "import", "no", "--server-path", served / "link.raw", says=["symbolic link"])
        self.refused("image", "import", "no", "--server-path", served / "down" / "there.raw", says=["symbolic link"])
        self.refused("image", "import", "no", "--server-path", served / "none.raw", says=["No such file"])
        self.refused("image", "import", "no", "--server-path", served, says=["no folder"])
        self.refused("image", "import", "no", code=2)
        self.refused("image", "import", "no", raw, "--server-path", raw, code=2)

    def test_a_broken_upload_goes_on_by_itself(self):
        raw = make_disk("cut.raw", 12)
        proxy = CuttingProxy(int(up.listen.rsplit(":", 1)[1]), 3 * MIB, 3)
        self.addCleanup(proxy.close)
        done = run_cli("image", "import", "cut", raw, url=proxy.url, token=up.token)
        self.assertEqual(done.code, 0, done)
        self.assertEqual(proxy.left, 0, "the connection was cut as often as it should be")
        out = folder / "cut.out"
        self.ok("image", "export", "cut", out)
        self.assertEqual(hashlib.sha256(out.read_bytes()).digest(), hashlib.sha256(raw.read_bytes()).digest())
        self.nothing_spooled()

    def test_an_upload_that_was_given_up_goes_on_with_resume(self):
        raw = make_disk("resumed.raw", 4)
        api = up.api()
        begun = api.post("/api/v1/images/resumed/uploads", {"files": [{"name": raw.name, "size_bytes": 4 * MIB}]}).json
        sent = api.put(f"/api/v1/uploads/{begun['id']}/files/{raw.name}?offset=0", raw.read_bytes()[:MIB])
        self.assertEqual(sent.status, 200, sent)
        self.ok("image", "import", "resumed", raw, "--resume", begun["id"])
        self.ok("image", "import", "whole", raw)
        self.assertEqual(self.digest("resumed"), self.digest("whole"))
        # Another file than the one that was begun with is told from it by its SHA-256.
        begun = api.post("/api/v1/images/resumed/uploads", {"files": [{"name": raw.name, "size_bytes": 4 * MIB}]}).json
        api.put(f"/api/v1/uploads/{begun['id']}/files/{raw.name}?offset=0", os.urandom(MIB))
        self.refused("image", "import", "resumed", raw, "--resume", begun["id"], says=["did not arrive as it was sent"])
        self.refused("image", "import", "resumed", raw, "--resume", begun["id"])
        self.nothing_spooled()


if __name__ == "__main__":
    unittest.main()
