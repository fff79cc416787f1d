"""What an installer needs of goldlink-target: an ISO as a CD-ROM beside a blank disk, and disks of 4 KiB blocks."""

import os
import struct
import unittest
import uuid

from harness import iscsi, processes, target_case as target
from harness.target_case import run

MIB = 1 << 20


def make_iso(blocks=600):
    """Random sectors with the volume descriptors of an ISO 9660 disc among them."""
    content = bytearray(os.urandom(blocks * 2048))
    content[16 * 2048:16 * 2048 + 7] = b"\x01CD001\x01"
    return bytes(content)


class Case(processes.TestCase):
    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()

    def blank(self, size):
        report = self.target.task(self.target.api.post("/imports", {"id": str(uuid.uuid4()), "blank_bytes": size}))
        self.assertEqual(report["state"], "done", report)
        self.assertEqual((report["version"]["size_bytes"], report["version"]["stored_bytes"]), (size, 0))
        return report["version"]["digest"]

    def put(self, name, disks, link_id=None):
        body = {**self.target.link_body(name, "0" * 64), "disks": disks}
        return self.check(self.target.api.put(f"/links/{link_id or uuid.uuid4()}", body), 200)

    def login(self, link, username="user", secret=target.SECRET):
        initiator = iscsi.Initiator(self.target.portal, isid=iscsi.random_isid())
        self.addCleanup(initiator.close)
        initiator.login(link["iqn"], username, secret)
        for disk in link["disks"]:
            while True:
                try:
                    initiator.scsi(bytes(6), lun=disk["lun"])
                    break
                except iscsi.CheckCondition as told:
                    self.assertEqual(told.key, 6)
        return initiator

    def read_disc(self, initiator, block, blocks=1, lun=1):
        cdb = struct.pack(">BBIBHB", 0x28, 0, block, 0, blocks, 0)
        return initiator.scsi(cdb, blocks * 2048, lun=lun)

    def refused(self, sense, initiator, cdb, *arguments, **options):
        with self.assertRaises(iscsi.CheckCondition) as caught:
            initiator.scsi(cdb, *arguments, **options)
        self.assertEqual((caught.exception.key, *caught.exception.asc), sense)


class CdRom(Case):
    def setUp(self):
        super().setUp()
        self.iso = make_iso()
        self.version = self.target.import_image(self.iso, "install.iso", "iso")
        self.blank_version = self.blank(64 * MIB)

    def put_installer(self):
        link = self.put("pc-001", [{"lun": 0, "version": self.blank_version, "policy": "keep"},
                                   {"lun": 1, "version": self.version, "type": "cdrom"}])
        self.assertTrue(link["ready"], link)
        return link

    def test_libiscsi_sees_a_cd_rom_beside_a_blank_disk(self):
        link = self.put_installer()
        inquiry = run("iscsi-inq", self.target.url(link, lun=1)).stdout
        self.assertIn("Peripheral Device Type:MMC", inquiry)
        self.assertIn("Removable:1", inquiry)
        self.assertIn("Product:CD-ROM", inquiry)
        self.assertIn("Peripheral Device Type:DIRECT_ACCESS", run("iscsi-inq", self.target.url(link)).stdout)
        self.assertIn("MMC", run("iscsi-ls", "-s", f"iscsi://user%{target.SECRET}@{self.target.portal}").stdout)
        capacity = run("iscsi-readcapacity16", self.target.url(link)).stdout
        self.assertIn("Total size:67108864", capacity)

    def test_the_disc_reads_as_the_iso_and_the_disk_is_blank_and_keeps(self):
        link = self.put_installer()
        initiator = self.login(link)
        self.assertEqual(initiator.scsi(bytes([0x25]) + bytes(9), 8, lun=1), struct.pack(">II", 599, 2048))
        whole = b"".join(self.read_disc(initiator, block, 100) for block in range(0, 600, 100))
        self.assertEqual(whole, self.iso)
        self.assertEqual(initiator.read(0, 128), bytes(65536))
        initiator.write(0, b"installed" + bytes(503), fua=True)
        self.refused((5, 0x20, 0), initiator, struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 1, 0), data=bytes(2048), lun=1)
        boot = self.target.boot(link)
        again = self.login(link, boot["username"], boot["secret"])
        self.assertEqual(again.read(0, 1), b"installed" + bytes(503))
        self.assertEqual(self.read_disc(again, 7, 2), self.iso[7 * 2048:9 * 2048])
        view = self.target.view(link)
        self.assertEqual([("overlay" in disk, disk["type"]) for disk in view["running"]],
                         [(True, "disk"), (False, "cdrom")])
        self.assertEqual([path.name for path in (self.target.state_dir / "overlays" / link["id"]).iterdir()], ["lun0-g1"])

    def test_a_drive_that_an_installer_opened_is_closed_again_for_the_next_boot(self):
        link = self.put_installer()
        initiator = self.login(link)
        initiator.scsi(bytes([0x1B, 0, 0, 0, 2, 0]), lun=1)
        self.refused((2, 0x3A, 2), initiator, bytes(6), lun=1)
        self.refused((2, 0x3A, 2), initiator, struct.pack(">BBIBHB", 0x28, 0, 0, 0, 1, 0), 2048, lun=1)
        self.assertEqual(initiator.read(0, 1), bytes(512))
        initiator.logout()
        processes.wait_until(lambda: not self.target.view(link)["sessions"], "the session ended")
        self.assertEqual(self.read_disc(self.login(link), 0, 1), self.iso[:2048])

    def test_a_killed_target_serves_the_disc_again(self):
        link = self.put_installer()
        self.login(link)
        self.target.restart_after_kill()
        self.assertEqual(self.read_disc(self.login(link), 599, 1), self.iso[-2048:])
        self.check(self.target.api.post(f"/links/{link['id']}/reset", {"lun": 1, "force": True}), 200)
        self.assertEqual(self.read_disc(self.login(link), 0, 1), self.iso[:2048])
        self.check(self.target.api.delete(f"/links/{link['id']}"), 204)

    def test_the_next_disc_comes_with_the_next_boot(self):
        link = self.put_installer()
        other = make_iso(300)
        version = self.target.import_image(other, "other.iso", "iso")
        running = self.login(link)
        self.put("pc-001", [{"lun": 0, "version": self.blank_version, "policy": "keep"},
                            {"lun": 1, "version": version, "type": "cdrom"}], link["id"])
        self.assertEqual(self.read_disc(running, 0, 1), self.iso[:2048])
        boot = self.target.boot(link)
        again = self.login(link, boot["username"], boot["secret"])
        self.assertEqual(self.read_disc(again, 0, 1), other[:2048])

    def test_a_live_disc_alone_is_a_link(self):
        link = self.put("live", [{"lun": 0, "version": self.version, "type": "cdrom"}])
        self.assertEqual(self.read_disc(self.login(link), 0, lun=0), self.iso[:2048])
        report = self.target.task(self.target.api.post(f"/links/{link['id']}/commit", {"id": str(uuid.uuid4())}))
        self.assertEqual(report["state"], "failed")

    def test_what_is_no_iso_or_no_blank_disk_is_refused(self):
        report = self.target.task(self.target.start_import(os.urandom(MIB), "no.iso", "iso"))
        self.assertEqual(report["state"], "failed")
        self.assertIn("is no ISO image", report["error"]["message"])
        for body in ({"blank_bytes": 0}, {"blank_bytes": "1"}, {"blank_bytes": MIB, "format": "raw"},
                     {"blank_bytes": MIB, "path": "/etc/passwd"}, {}):
            self.check(self.target.api.post("/imports", {"id": str(uuid.uuid4()), **body}), 400)
        report = self.target.task(self.target.api.post("/imports", {"id": str(uuid.uuid4()), "blank_bytes": 1000}))
        self.assertEqual((report["state"], report["error"]["kind"]), ("failed", "invalid"))


class FourKibiBlocks(Case):
    def disk(self, version, policy="discard", block_bytes=4096):
        return {"lun": 0, "version": version, "policy": policy, "logical_block_bytes": block_bytes}

    def test_capacity_and_addresses_are_of_4096_bytes(self):
        content = os.urandom(4 * MIB)
        link = self.put("native", [self.disk(self.target.import_image(content), "keep")])
        self.assertTrue(link["ready"], link)
        initiator = self.login(link)
        capacity = initiator.scsi(bytes([0x9E, 0x10]) + bytes(11) + b"\x20" + bytes(2), 32)
        last, block_bytes, _, exponent = struct.unpack(">QIBB", capacity[:14])
        self.assertEqual((last, block_bytes, exponent & 15), (1023, 4096, 0))
        self.assertEqual(initiator.scsi(bytes([0x25]) + bytes(9), 8), struct.pack(">II", 1023, 4096))
        for lba, blocks in ((0, 1), (7, 3), (1000, 24), (1023, 1)):
            self.assertEqual(initiator.read(lba, blocks, block_bytes=4096), content[lba * 4096:(lba + blocks) * 4096])
        self.refused((5, 0x21, 0), initiator, struct.pack(">BBIBHB", 0x28, 0, 1023, 0, 2, 0), 8192)
        initiator.write(5, b"N" * 8192, block_bytes=4096, fua=True)
        # UNMAP of block 6: one descriptor.
        initiator.scsi(struct.pack(">BBIBHB", 0x42, 0, 0, 0, 24, 0),
                       data=struct.pack(">HHI QII", 22, 16, 0, 6, 1, 0))
        self.target.restart_after_kill()
        again = self.login(link)
        self.assertEqual(again.read(4, 4, block_bytes=4096),
                         content[4 * 4096:5 * 4096] + b"N" * 4096 + bytes(4096) + content[7 * 4096:8 * 4096])
        copy = self.folder / "copy.raw"
        run("qemu-img", "convert", "-O", "raw", self.target.url(link), copy)
        self.assertEqual(copy.read_bytes(),
                         content[:5 * 4096] + b"N" * 4096 + bytes(4096) + content[7 * 4096:])

    def test_a_partition_table_of_blocks_of_another_size_is_refused(self):
        old = self.target.import_image(bytes(512) + b"EFI PART" + os.urandom(MIB - 520))
        new = self.target.import_image(bytes(4096) + b"EFI PART" + os.urandom(MIB - 4104))
        link = self.put("pc-001", [self.disk(old)])
        self.assertFalse(link["ready"])
        self.assertIn("partition table made for blocks of 512", link["problem"])
        with self.assertRaises(iscsi.LoginFailed):
            self.login(link)
        link = self.put("pc-001", [self.disk(old, block_bytes=512)], link["id"])
        self.assertTrue(link["ready"], link)
        self.assertTrue(self.put("pc-002", [self.disk(new)])["ready"])
        for policy in ("discard", "keep"):
            link = self.put(f"pc-{policy}", [self.disk(new, policy, block_bytes=512)])
            self.assertFalse(link["ready"])
            self.assertIn("partition table made for blocks of 4096", link["problem"])
            self.assertIn("--4kn", link["problem"])
        both = self.target.import_image(bytes(512) + b"EFI PART" + bytes(3576) + b"EFI PART" + bytes(MIB - 4104))
        for block_bytes in (512, 4096):
            self.assertTrue(self.put(f"both-{block_bytes}", [self.disk(both, block_bytes=block_bytes)])["ready"])

    def test_a_size_that_is_not_whole_blocks_is_refused(self):
        link = self.put("pc-001", [self.disk(self.target.import_image(os.urandom(MIB + 512)))])
        self.assertFalse(link["ready"])
        self.assertIn("cannot have blocks of 4096 bytes", link["problem"])


if __name__ == "__main__":
    unittest.main()
