"""A disc that a BIOS can start: an ISO 9660 image with installer_disc.s as its El Torito boot image."""

import pathlib
import struct
import subprocess

SECTOR = 2048
SYSTEM_AREA_SECTORS = 16
BOOT_CATALOG, BOOT_IMAGE, SECTORS = 19, 20, 64
SOURCE = pathlib.Path(__file__).with_name("installer_disc.s")


def assembled(folder):
    """The machine code, which runs at 7C00h."""
    code_object, code = pathlib.Path(folder, "disc.o"), pathlib.Path(folder, "disc.bin")
    subprocess.run(["as", "--32", "-o", code_object, SOURCE], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", code, code_object], check=True)
    return code.read_bytes()


def both_endian(number):
    return struct.pack("<I", number) + struct.pack(">I", number)


def volume_descriptor(kind):
    return bytearray(bytes([kind]) + b"CD001" + b"\x01" + bytes(SECTOR - 7))


def boot_catalog():
    """El Torito 2.1 and 2.2: the validation entry, whose words sum to zero, and the default entry."""
    validation = bytearray(struct.pack("<BBH24sHBB", 1, 0, 0, b"Goldlink", 0, 0x55, 0xAA))
    total = sum(struct.unpack("<16H", validation))
    struct.pack_into("<H", validation, 28, -total & 0xFFFF)
    default = struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, SECTOR // 512, BOOT_IMAGE)
    return bytes(validation) + default


def write_disc(path, folder):
    disc = bytearray(SECTORS * SECTOR)

    def put(sector, content):
        disc[sector * SECTOR:sector * SECTOR + len(content)] = content

    primary = volume_descriptor(1)
    primary[8:72] = b"GOLDLINK".ljust(32) + b"INSTALLER".ljust(32)
    primary[80:88] = both_endian(SECTORS)
    primary[128:132] = struct.pack("<H", SECTOR) + struct.pack(">H", SECTOR)
    boot = volume_descriptor(0)
    boot[7:30] = b"EL TORITO SPECIFICATION"
    boot[71:75] = struct.pack("<I", BOOT_CATALOG)
    put(SYSTEM_AREA_SECTORS, primary)
    put(SYSTEM_AREA_SECTORS + 1, boot)
    put(SYSTEM_AREA_SECTORS + 2, volume_descriptor(255))
    put(BOOT_CATALOG, boot_catalog())
    put(BOOT_IMAGE, assembled(folder))
    pathlib.Path(path).write_bytes(disc)
