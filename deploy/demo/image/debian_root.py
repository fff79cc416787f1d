"""Makes the folder with Debian's root file system: debootstrap from the mirror that apt uses here,
then the few files of image/guest, then an initramfs that logs in as the firmware's iBFT says."""
import glob
import os
import re
import shutil
import subprocess

SUITE = "bookworm"
PACKAGES = ["systemd-sysv", "udev", "linux-image-cloud-amd64", "initramfs-tools", "busybox",
            "open-iscsi", "kmod", "iproute2", "zstd"]
NEEDED_MODULES = ["iscsi_ibft", "iscsi_tcp", "virtio_net", "virtio_console"]
GUEST_FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guest")

# Never used by a demo guest, and two thirds of what would have to be imported.
DROPPED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info",
           "var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/debconf"]

# Work that a guest of some minutes has no use for; each module it would load costs an emulated
# processor half a second.
MASKED_UNITS = [
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer",
    "e2scrub_all.timer", "e2scrub_reap.service", "getty-static.service", "systemd-pstore.service",
    "modprobe@dm_mod.service", "modprobe@loop.service", "modprobe@fuse.service",
    "modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service",
    "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "dev-hugepages.mount", "dev-mqueue.mount"]


class BuildError(Exception):
    """The image cannot be built; the message says why and what to do."""


def configured_mirror():
    """The address of the Debian mirror apt is set up with on this machine."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(COMPONENT) $(SITE)",
         "Created-By: Packages"], check=True, capture_output=True, text=True).stdout.splitlines()
    debian = [line.split() for line in targets if line.startswith("Debian ") and " main " in line]
    for wanted in (SUITE, None):
        for _, codename, _, site in debian:
            if "debian-security" not in site and wanted in (codename, None):
                return site
    raise BuildError("apt has no Debian mirror configured: add one to /etc/apt/sources.list and run "
                     "`apt-get update`, or give one with --mirror")


def _environment():
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8",
                       PATH="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
    shell = subprocess.run(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"], check=True,
                           capture_output=True, text=True).stdout
    proxy = re.match(r"PROXY='(http[^']*)'", shell)
    if proxy:
        environment.setdefault("http_proxy", proxy.group(1))
    return environment


def _logged(log_path, *command):
    with open(log_path, "ab") as log:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log,
                              stderr=subprocess.STDOUT, env=_environment(), check=False).returncode
    if code != 0:
        with open(log_path, encoding="utf-8", errors="replace") as log:
            tail = "".join(log.readlines()[-15:])
        raise BuildError(f"`{' '.join(command)}` ended with {code}; the end of {log_path}:\n{tail}")


def make_root(root_dir, mirror, log_path, progress):
    """Fills root_dir, calling progress(text) at each step."""
    progress(f"debootstrap: Debian {SUITE} from {mirror}")
    _logged(log_path, "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE,
            root_dir, mirror)

    progress("the guest's own files, initramfs")
    shutil.copytree(GUEST_FILES, root_dir, dirs_exist_ok=True)
    with open(os.path.join(root_dir, "etc/hostname"), "w", encoding="ascii") as file:
        file.write("goldlink-demo\n")
    # Empty, not missing: each PC makes its own and systemd does not take it for a first boot.
    with open(os.path.join(root_dir, "etc/machine-id"), "w", encoding="ascii"):
        pass
    iscsid_conf = os.path.join(root_dir, "etc/iscsi/iscsid.conf")
    with open(iscsid_conf, "a", encoding="ascii") as file:
        # The root disk: wait for the server for as long as it takes, never fail a read or a write.
        file.write("\nnode.session.timeo.replacement_timeout = 86400\n")
    with open(os.path.join(root_dir, "etc/motd"), "w", encoding="ascii") as file:
        file.write("This PC has no disk: its root is a Goldlink link over iSCSI.\n")

    chroot = ["chroot", root_dir]
    # Takes over the session the initramfs made, so that it is reopened when the server was away.
    _logged(log_path, *chroot, "systemctl", "enable", "iscsid.service")
    _logged(log_path, *chroot, "systemctl", "mask", *MASKED_UNITS)
    _logged(log_path, *chroot, "passwd", "-d", "root")
    _logged(log_path, *chroot, "update-initramfs", "-u", "-k", "all")
    _check_modules(root_dir)
    _trim(root_dir)


def _check_modules(root_dir):
    for module in NEEDED_MODULES:
        if not glob.glob(f"{root_dir}/lib/modules/*/kernel/**/{module}.ko*", recursive=True):
            raise BuildError(f"the kernel package of Debian {SUITE} has no module {module}, "
                             "which a guest needs to boot from iSCSI")
    for name in ("vmlinuz", "initrd.img"):
        found = glob.glob(f"{root_dir}/boot/{name}-*")
        if len(found) != 1:
            raise BuildError(f"expected one {name} in {root_dir}/boot, found {found}")
        os.symlink(os.path.basename(found[0]), f"{root_dir}/boot/{name}")


def _trim(root_dir):
    for name in DROPPED:
        path = os.path.join(root_dir, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
            os.makedirs(path)
