"""A machine of its own for the unit: Debian's systemd as process 1, booted in a container that has no network but its loopback.

Owns: how the tree of files is made (once, then kept as one file), booted, entered and switched off. It fails with the reason
where the system cannot do that; it never skips. Only one such machine runs at a time.

Never does: know Pillarbox. Python 3.11, standard library only; root.
"""

import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from harness import Broken

PACKAGES = ("systemd", "systemd-sysv", "sudo")
# Longest wait for process 1 to say that it has booted, and for it to end, in seconds.
BOOT_WAIT = 60
# Longest command inside, in seconds.
COMMAND_WAIT = 120
# Room that the tree takes while it is made, in bytes.
TREE_ROOM = 1 << 30
LOCK = "/run/lock/pillarbox-machine"


def made_tree(cache):
    """The tree as a tar file, from the packages and sources that this system's own apt knows."""
    codename = re.search(r"^VERSION_CODENAME=\"?(\w+)", Path("/etc/os-release").read_text(), re.M)
    if not codename:
        raise Broken("this is no Debian: /etc/os-release names no VERSION_CODENAME")
    recipe = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    kept = cache / f"machine-{codename[1]}-{recipe}.tar"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part.tar")
        make_tree(codename[1], part)
        owner = cache.stat()
        os.chown(part, owner.st_uid, owner.st_gid)
        part.rename(kept)
    return kept


def make_tree(codename, target):
    folder = Path("/etc/apt")
    sources = [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list")), *sorted(folder.glob("sources.list.d/*.sources"))]
    sources = [file for file in sources if file.is_file()]
    command = ["mmdebstrap", "--mode=root", "--variant=essential", "--dpkgopt=force-unsafe-io", f"--include={','.join(PACKAGES)}"]
    done = subprocess.run(
        [*command, codename, target, *sources], capture_output=True, text=True, env=os.environ | {"TMPDIR": roomy_folder()}
    )
    if done.returncode != 0:
        raise Broken(f"the tree of the machine could not be made: {done.stderr[-3000:]}")


def roomy_folder():
    """In memory where there is room: the packages' many small syncs cost nothing there."""
    memory = "/dev/shm"
    roomy = os.path.isdir(memory) and shutil.disk_usage(memory).free > TREE_ROOM
    return memory if roomy else tempfile.gettempdir()


class Machine:
    """Use it in a `with`; the caller's own sockets are the machine's from `boot` on."""

    def __init__(self, cache):
        self.lock = open(LOCK, "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        # On a disk, as a real data folder; the folder in memory would make every sync a lie.
        self.folder = Path(tempfile.mkdtemp(prefix="pillarbox-machine-"))
        self.root, self.process, self.leader = self.folder / "root", None, None
        self.root.mkdir()
        self.console = open(self.folder / "console", "ab")
        self.cache = cache

    def __enter__(self):
        try:
            subprocess.run(["tar", "-C", self.root, "--numeric-owner", "-xpf", made_tree(self.cache)], check=True)
            self.write("/etc/hostname", "pillarbox\n")
            self.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.off()
        self.console.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()

    def boot(self):
        """Returns when everything that is enabled has started."""
        told = self.folder / "told"
        told.unlink(missing_ok=True)
        command = ["setpriv", "--pdeathsig", "TERM", "systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot"]
        command += ["--register=no", "--keep-unit", "--private-network", "--machine=pillarbox", "--resolv-conf=off"]
        command += ["--timezone=off", "--link-journal=no", "--notify-ready=yes", "--console=pipe"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(str(told))
            ear.settimeout(0.2)
            environment = os.environ | {"NOTIFY_SOCKET": str(told)}
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console, env=environment
            )
            self.leader = self.hear(ear)
        self.share_network()

    def hear(self, ear):
        """Waits until the container says that it is ready, and who its process 1 is."""
        words = ""
        for _ in range(BOOT_WAIT * 5):
            try:
                words += ear.recv(4096).decode() + "\n"
            except TimeoutError:
                if self.process.poll() is not None:
                    break
            leader = re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", words, re.M)
            if leader and re.search(r"^READY=1$", words, re.M):
                return int(leader[1])
        console = (self.folder / "console").read_text(errors="replace")
        raise Broken(f"systemd-nspawn did not boot the machine (it said {words.split()}): {console[-3000:]}")

    def share_network(self):
        """This process, and what it starts from now on, is a client on the machine's own loopback."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{self.leader}/ns/net") as network:
            if libc.setns(network.fileno(), 0) != 0:
                raise Broken(f"the machine's network cannot be entered: {os.strerror(ctypes.get_errno())}")

    def off(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(BOOT_WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def try_inside(self, *command):
        """Runs a command as root on the machine."""
        enter = ["nsenter", f"--target={self.leader}", "--all", "--"]
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        return subprocess.run([*enter, *command], capture_output=True, text=True, env=clean, timeout=COMMAND_WAIT)

    def inside(self, *command):
        """As `try_inside`; what it prints, and a failure is one."""
        done = self.try_inside(*command)
        if done.returncode != 0:
            raise Broken(f"{' '.join(command)}: exit code {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout

    def write(self, path, text, mode=0o644):
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
