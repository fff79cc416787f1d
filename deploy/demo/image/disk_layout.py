"""Makes one raw GPT disk that starts by BIOS and by UEFI, from a folder that holds a root file system.

No mounts and no loop devices: mke2fs fills ext4 from the folder, mtools the FAT partition, and the
two GRUB images are placed by hand where grub-install would put them. The file is sparse.
"""
import os
import struct
import subprocess

SECTOR = 512
MIB = 1024 * 1024
FIRST_LBA = 2048
BIOS_MIB = 1
ESP_MIB = 16

# A golden image is one disk seen by many PCs, so that its file system has one name everywhere.
ROOT_UUID = "5f0c7e9a-6d0b-4c53-9f3e-0a6c1de90b07"

GRUB_CONFIG = """\
set timeout=0
search --no-floppy --fs-uuid --set=root {uuid}
linux /boot/vmlinuz root=UUID={uuid} ro net.ifnames=0 console=tty0 console=ttyS0,115200
initrd /boot/initrd.img
boot
"""

GRUB_COMMON = ["part_gpt", "ext2", "normal", "linux", "search", "search_fs_uuid", "configfile", "echo"]

# Offsets inside GRUB's own boot sectors (grub/i386/pc/boot.h, kernel.h): boot.img jumps to the
# sector number at 0x5c; the first sector of core.img ends with the list of sectors to load.
BOOT_KERNEL_SECTOR = 0x5C
BOOT_DRIVE_CHECK = 0x66
DISKBOOT_BLOCK_LIST = SECTOR - 12
MBR_CODE_BYTES = 440


def _run(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def _grub_core(work_dir, platform, modules):
    early = os.path.join(work_dir, "early.cfg")
    with open(early, "w", encoding="ascii") as file:
        file.write(f"search --no-floppy --fs-uuid --set=root {ROOT_UUID}\n"
                   "set prefix=($root)/boot/grub\n"
                   "configfile /boot/grub/grub.cfg\n")
    core = os.path.join(work_dir, f"core.{platform}")
    _run("grub-mkimage", "-O", platform, "-c", early, "-p", "/boot/grub", "-o", core,
         *GRUB_COMMON, *modules)
    return core


def _write_bios_boot(disk, core_path):
    """Puts boot.img into the MBR's code area and core.img into the BIOS boot partition."""
    with open("/usr/lib/grub/i386-pc/boot.img", "rb") as file:
        boot = bytearray(file.read()[:MBR_CODE_BYTES])
    struct.pack_into("<Q", boot, BOOT_KERNEL_SECTOR, FIRST_LBA)
    # As grub-bios-setup does for a hard disk: trust the BIOS about the drive number it booted from.
    boot[BOOT_DRIVE_CHECK:BOOT_DRIVE_CHECK + 2] = b"\x90\x90"
    with open(core_path, "rb") as file:
        core = bytearray(file.read())
    if len(core) > BIOS_MIB * MIB:
        raise RuntimeError(f"GRUB's core image has {len(core)} bytes and does not fit its partition")
    rest_sectors = -(-(len(core) - SECTOR) // SECTOR)
    _, sectors, segment = struct.unpack_from("<QHH", core, DISKBOOT_BLOCK_LIST)
    if sectors != rest_sectors:  # grub-mkimage has put the length there; anything else is no list
        raise RuntimeError("GRUB's core image has an unknown layout: is grub-pc-bin version 2?")
    struct.pack_into("<QHH", core, DISKBOOT_BLOCK_LIST, FIRST_LBA + 1, rest_sectors, segment)
    disk.seek(0)
    disk.write(boot)
    disk.seek(FIRST_LBA * SECTOR)
    disk.write(core)


def _make_esp(work_dir, core_path):
    esp = os.path.join(work_dir, "esp.fat")
    with open(esp, "wb") as file:
        file.truncate(ESP_MIB * MIB)
    environment = dict(os.environ, MTOOLS_SKIP_CHECK="1")
    _run("mformat", "-i", esp, "-v", "GOLDLINK", "::", env=environment)
    _run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT", env=environment)
    _run("mcopy", "-i", esp, core_path, "::/EFI/BOOT/BOOTX64.EFI", env=environment)
    return esp


def make_disk(root_dir, disk_path, size_mib, work_dir):
    """Writes the bootable disk; root_dir is changed (it gets /boot/grub/grub.cfg and fstab)."""
    grub_dir = os.path.join(root_dir, "boot/grub")
    os.makedirs(grub_dir, exist_ok=True)
    with open(os.path.join(grub_dir, "grub.cfg"), "w", encoding="ascii") as file:
        file.write(GRUB_CONFIG.format(uuid=ROOT_UUID))
    with open(os.path.join(root_dir, "etc/fstab"), "w", encoding="ascii") as file:
        file.write(f"UUID={ROOT_UUID} / ext4 noatime,errors=remount-ro 0 0\n")

    esp_start_mib = FIRST_LBA * SECTOR // MIB + BIOS_MIB
    root_start_mib = esp_start_mib + ESP_MIB
    root_mib = size_mib - root_start_mib - 1  # the last MiB holds GPT's second header
    with open(disk_path, "wb") as file:
        file.truncate(size_mib * MIB)
    _run("sfdisk", "--quiet", disk_path, text=True, input=(
        "label: gpt\n"
        f"start={FIRST_LBA}, size={BIOS_MIB}MiB, type=21686148-6449-6E6F-744E-656564454649\n"
        f"size={ESP_MIB}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n"
        f"size={root_mib}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root\n"))
    _run("mke2fs", "-q", "-t", "ext4", "-d", root_dir, "-U", ROOT_UUID, "-L", "goldlink", "-m", "0",
         # Nothing is left to be initialised in the background of every single boot.
         "-E", f"offset={root_start_mib * MIB},lazy_itable_init=0,lazy_journal_init=0",
         "-J", "size=8", disk_path, f"{root_mib}M", stderr=subprocess.DEVNULL)

    bios_core = _grub_core(work_dir, "i386-pc", ["biosdisk"])
    uefi_core = _grub_core(work_dir, "x86_64-efi", ["fat", "efi_gop"])
    esp = _make_esp(work_dir, uefi_core)
    with open(disk_path, "r+b") as disk:
        _write_bios_boot(disk, bios_core)
        disk.seek(esp_start_mib * MIB)
        with open(esp, "rb") as file:
            while block := file.read(MIB):
                if any(block):
                    disk.write(block)
                else:
                    disk.seek(len(block), os.SEEK_CUR)
        disk.flush()
        os.fsync(disk.fileno())
