"""Image files in and out by the CLI against a running `goldlink up`: files that refer to others, compressed
ones, files of the server, uploads that break and go on, and exports that import again as the same version."""

import gzip
import hashlib
import http.client
import json
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
        for program in ("gzip", "bzip2", "xz", "zstd"):
            with open(folder / f"packed.{program}", "wb") as out:
                subprocess.run([program, "-c", raw], stdout=out, check=True)
            self.ok("image", "import", f"packed-{program}", folder / f"packed.{program}")
            self.assertEqual(self.digest(f"packed-{program}"), self.digest("packed"))

    def test_the_disk_in_an_archive(self):
        raw = make_disk("boxed.raw")
        tool("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, folder / "boxed.vmdk")
        (folder / "boxed.ovf").write_text("<Envelope/>")
        tool("tar", "-C", folder, "-cf", folder / "boxed.ova", "boxed.ovf", "boxed.vmdk")
        tool("bsdtar", "-C", folder, "--format", "zip", "-cf", folder / "boxed.zip", "boxed.ovf", "boxed.raw")
        self.ok("image", "import", "boxed", raw)
        for ending in ("ova", "zip"):
            self.ok("image", "import", f"boxed-{ending}", folder / f"boxed.{ending}")
            self.assertEqual(self.digest(f"boxed-{ending}"), self.digest("boxed"))

    def test_what_is_no_disk_is_refused_before_it_is_sent(self):
        vdi = folder / "pc.vdi"
        tool("qemu-img", "convert", "-O", "vdi", make_disk("vdi.raw"), vdi)
        self.refused("image", "import", "never", vdi, says=["VDI", "qemu-img convert"])
        (folder / "page.img").write_bytes(b"<!DOCTYPE html>" + bytes(MIB))
        self.refused("image", "import", "never", folder / "page.img", says=["a web page"])
        self.refused("image", "show", "never")
        shutil.copy(vdi, served / "pc.vdi")
        self.refused("image", "import", "never", "--server-path", served / "pc.vdi", says=["VDI", "qemu-img convert"])

    def send_a_beginning(self, method_path, total):
        """The problem that ends a request of `total` bytes of which only the first come."""
        connection = http.client.HTTPConnection(*up.listen.rsplit(":", 1), timeout=60)
        self.addCleanup(connection.close)
        connection.putrequest("PUT", method_path)
        connection.putheader("Authorization", f"Bearer {up.token}")
        connection.putheader("Content-Length", str(total))
        connection.endheaders(b"a letter" * (16 << 10))
        answer = connection.getresponse()
        problem = json.loads(answer.read())
        self.assertEqual(answer.status, 400, problem)
        return problem

    def test_an_upload_of_no_disk_is_ended_by_its_first_bytes(self):
        # Far less than these GiB are ever sent, so that an answer at all shows that it does not wait.
        total = 1 << 30
        api = up.api()
        problem = self.send_a_beginning("/api/v1/images/letter/content?filename=letter.img", total)
        self.assertIn("letter.img is no disk image", problem["detail"])
        self.assertEqual(api.get("/api/v1/images/letter").json["versions"][0]["state"], "failed")
        begun = api.post("/api/v1/images/letter/uploads", {"files": [{"name": "l.img", "size_bytes": total}]}).json
        problem = self.send_a_beginning(f"/api/v1/uploads/{begun['id']}/files/l.img?offset=0", total)
        self.assertIn("l.img is no disk image", problem["detail"])
        ended = api.get(f"/api/v1/uploads/{begun['id']}")
        self.assertEqual((ended.status, ended.json["type"]), (409, "upload-ended"))
        self.assertIn("l.img is no disk image", ended.json["detail"])
        self.nothing_spooled()
        # Files beside it may be anything: the flat data of a VMDK, a parent.
        begun = api.post("/api/v1/images/letter/uploads", {"files": [
            {"name": "l.vmdk", "size_bytes": 100}, {"name": "l-flat.vmdk", "size_bytes": MIB}]}).json
        self.assertEqual(api.put(f"/api/v1/uploads/{begun['id']}/files/l-flat.vmdk?offset=0", os.urandom(MIB)).status, 200)
        api.delete(f"/api/v1/tasks/{begun['id']}")
        self.nothing_spooled()

    def test_a_disk_that_a_virtual_machine_has_open(self):
        disk = folder / "vm.qcow2"
        tool("qemu-img", "convert", "-O", "qcow2", make_disk("vm.raw"), disk)
        shutil.copy(disk, served / "vm.qcow2")
        for path, arguments in ((disk, [disk]), (served / "vm.qcow2", ["--server-path", served / "vm.qcow2"])):
            machine = subprocess.Popen(["qemu-io", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                machine.stdin.write(b"write 0 4k\n")
                machine.stdin.flush()
                while b"wrote" not in machine.stdout.readline():
                    pass
                self.refused("image", "import", "vm", *arguments,
                             says=["vm.qcow2 is open for writing in another program", f"qemu-io, process {machine.pid}"])
            finally:
                machine.communicate(b"quit\n", timeout=60)
            self.ok("image", "import", "vm", *arguments)

    def test_exports_import_again_as_the_same_version(self):
        raw = make_disk("out.raw")  # whole MiB: VHDX counts in them
        self.ok("image", "import", "out", raw)
        for ending in ("raw", "raw.zst", "vhd", "vhdx", "vmdk", "qcow2"):
            file = folder / f"exported.{ending}"
            self.assertIn("out@1 as " + ending, self.ok("image", "export", "out", file).out)
            self.ok("image", "import", f"again-{ending}", file)
            self.assertEqual(self.digest(f"again-{ending}"), self.digest("out"), ending)
        self.assertEqual((folder / "exported.raw").read_bytes(), raw.read_bytes())
        done = self.ok("image", "export", "out", folder / "told.raw", "--json").json
        self.assertEqual((done["format"], done["size_bytes"]), ("raw", raw.stat().st_size))
        done = self.ok("image", "export", "out", folder / "hashed.qcow2", "--json").json
        self.assertEqual(done["result"]["sha256"], hashlib.sha256((folder / "hashed.qcow2").read_bytes()).hexdigest())
        self.refused("image", "export", "out@1", folder / "exported.raw", says=["exists already"])
        self.refused("image", "export", "out@7", folder / "x.raw")
        self.refused("image", "export", "out", folder / "none" / "x.raw", says=["cannot create"])
        self.assertFalse(list(folder.glob("*.part")))
        self.assertFalse(list((up.state_dir / "target" / "exports").iterdir()), "fetched exports are dropped")

    def test_an_exported_raw_disk_has_holes_where_the_disk_has_zeros(self):
        raw = folder / "sparse.raw"
        with open(raw, "wb") as file:
            file.write(make_disk("start.raw", 1).read_bytes())
            for at in (5 * MIB + 4096, 40 * MIB + 777):
                file.seek(at)
                file.write(os.urandom(9000))
            file.truncate(64 * MIB)
        self.ok("image", "import", "sparse", raw)
        out = folder / "sparse.out"
        self.ok("image", "export", "sparse", out, "--format", "raw")
        self.assertEqual(out.read_bytes(), raw.read_bytes())
        self.assertLess(out.stat().st_blocks * 512, 2 * MIB)

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

    def test_a_broken_upload_of_another_format_goes_on_by_itself(self):
        raw, packed = make_disk("packed.raw", 12), folder / "packed.raw.gz"
        packed.write_bytes(gzip.compress(raw.read_bytes(), 1))
        proxy = CuttingProxy(int(up.listen.rsplit(":", 1)[1]), 3 * MIB, 2)
        self.addCleanup(proxy.close)
        done = run_cli("image", "import", "packed", packed, url=proxy.url, token=up.token)
        self.assertEqual(done.code, 0, done)
        self.assertEqual(proxy.left, 0, "the connection was cut as often as it should be")
        self.assertIn("importing packed: 100 %", done.err)
        self.ok("image", "import", "unpacked", raw)
        self.assertEqual(self.digest("packed"), self.digest("unpacked"))
        self.nothing_spooled()

    def test_a_raw_disk_again_sends_what_is_new_of_it(self):
        raw = make_disk("anew.raw", 12)
        self.ok("image", "import", "anew", raw)
        with open(raw, "r+b") as file:
            file.seek(5 * MIB)
            file.write(os.urandom(1000))
        proxy = CuttingProxy(int(up.listen.rsplit(":", 1)[1]))
        self.addCleanup(proxy.close)
        done = run_cli("image", "import", "anew", raw, "--json", url=proxy.url, token=up.token)
        self.assertEqual((done.json["subject"], done.json["sent_chunks"]), ("anew@2", 1), done)
        self.assertLess(proxy.sent_bytes, MIB)

    def test_an_upload_that_was_given_up_goes_on_with_resume(self):
        raw = make_disk("resumed.raw", 4)
        api = up.api()
        begun = api.post("/api/v1/images/resumed/uploads", {"files": [{"name": raw.name, "size_bytes": 4 * MIB}]}).json
        sent = api.put(f"/api/v1/uploads/{begun['id']}/files/{raw.name}?offset=0", raw.read_bytes()[:MIB])
        self.assertEqual(sent.status, 200, sent)
        self.ok("image", "import", "resumed", raw, "--resume", begun["id"])
        self.ok("image", "import", "whole", raw)
        self.assertEqual(self.digest("resumed"), self.digest("whole"))
        # A mistaken path costs nothing of what has arrived.
        begun = api.post("/api/v1/images/resumed/uploads", {"files": [{"name": raw.name, "size_bytes": 4 * MIB}]}).json
        api.put(f"/api/v1/uploads/{begun['id']}/files/{raw.name}?offset=0", raw.read_bytes()[:MIB])
        mistaken, shorter = make_disk("mistaken.raw", 4), folder / "shorter" / raw.name
        shorter.parent.mkdir()
        shorter.write_bytes(raw.read_bytes()[:3 * MIB])
        for wrong in (mistaken, shorter):
            self.refused("image", "import", "resumed", wrong, "--resume", begun["id"],
                         says=[f"was begun with {raw.name} of {4 * MIB} bytes", "is kept"])
        files = api.get(f"/api/v1/uploads/{begun['id']}").json["files"]
        self.assertEqual(files[0]["received_bytes"], MIB)
        self.ok("image", "import", "resumed", raw, "--resume", begun["id"])
        # Another file than the one that was begun with is told from it by its SHA-256.
        begun = api.post("/api/v1/images/resumed/uploads", {"files": [{"name": raw.name, "size_bytes": 4 * MIB}]}).json
        api.put(f"/api/v1/uploads/{begun['id']}/files/{raw.name}?offset=0", bytes(510) + b"\x55\xaa" + os.urandom(MIB - 512))
        self.refused("image", "import", "resumed", raw, "--resume", begun["id"], says=["did not arrive as it was sent"])
        self.refused("image", "import", "resumed", raw, "--resume", begun["id"])
        self.nothing_spooled()


if __name__ == "__main__":
    unittest.main()
