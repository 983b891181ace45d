"""Limits that a fault test puts around the server: descriptors, memory, CPU time, the speed of a disk; and what it used of them.

Owns: control groups of their own, in version 2 or version 1 of the kernel's interface, whichever has the controller.
Never does: limit the test itself; a limit is put on in the child, between fork and exec (`prepare` of `Server`).

Python 3.11, standard library only.
"""

import os
import resource
import time
from pathlib import Path

from harness import Broken

# How long a group may take to be empty after its last process ended, in seconds.
EMPTY_WAIT = 5


def descriptors(limit):
    """For `Server(prepare=...)`: so many descriptors, and no way to lift that."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def open_descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def cpu_seconds(server):
    """CPU time that the server has used so far, all its threads together."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(server):
    """The most memory that the server had in RAM at once, in bytes, without the page cache."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("the kernel does not tell VmHWM")


class Group:
    """A control group for the server alone. Where neither version of the interface has the controllers, the test fails."""

    def __init__(self, *controllers):
        self.folders, self.version, self.lift = {}, 0, lambda: None
        name = f"pillarbox-faults-{os.getpid()}"
        for controller in controllers:
            self.version, parent = find(controller)
            folder = parent / name
            folder.mkdir(exist_ok=True)
            self.folders[controller] = folder

    def join(self):
        """For `Server(prepare=...)`."""
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def put(self, controller, name, value):
        (self.folders[controller] / name).write_text(str(value))

    def get(self, controller, name):
        return (self.folders[controller] / name).read_text()

    def limit_memory(self, limit):
        """Page cache counts, too; swap is not to be used in its place."""
        if self.version == 2:
            self.put("memory", "memory.max", limit)
            if (self.folders["memory"] / "memory.swap.max").exists():
                self.put("memory", "memory.swap.max", 0)
        else:
            self.put("memory", "memory.limit_in_bytes", limit)
            self.put("memory", "memory.swappiness", 0)

    def oom_kills(self):
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        for line in self.get("memory", name).splitlines():
            key, value = line.split()
            if key == "oom_kill":
                return int(value)
        raise Broken(f"the kernel does not count OOM kills in {name}")

    def peak(self):
        """The most that the group was charged for at once, page cache included; none where an old kernel does not say it."""
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        return int(self.get("memory", name)) if (self.folders["memory"] / name).exists() else None

    def limit_cpu(self, share):
        """This share of one core, handed out every 100 ms."""
        quota = int(100_000 * share)
        if self.version == 2:
            self.put("cpu", "cpu.max", f"{quota} 100000")
        else:
            self.put("cpu", "cpu.cfs_period_us", 100_000)
            self.put("cpu", "cpu.cfs_quota_us", quota)

    def limit_writes(self, folder, per_second):
        """So many bytes in a second onto the block device that `folder` lies on; it must be the test's own.

        Version 1 does not know for whom the kernel's own threads write, so there the limit is put on everybody.
        """
        device = os.stat(folder).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        if self.version == 2:
            file, lifted = self.folders["io"] / "io.max", f"{number} wbps=max"
            file.write_text(f"{number} wbps={per_second}")
        else:
            file, lifted = self.folders["io"].parent / "blkio.throttle.write_bps_device", f"{number} 0"
            file.write_text(f"{number} {per_second}")
        self.lift = lambda: file.write_text(lifted)

    def close(self):
        self.lift()
        deadline = time.monotonic() + EMPTY_WAIT
        for folder in set(self.folders.values()):
            while True:
                try:
                    folder.rmdir()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)


def find(controller):
    """The version of the interface that has this controller, and the folder in which a group of it can be made."""
    second, first = None, None
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2":
            second = Path(folder)
        elif kind == "cgroup" and {"io": "blkio"}.get(controller, controller) in options.split(","):
            first = Path(folder)
    if first:
        return 1, first
    if not second:
        raise Broken(f"there is no controller '{controller}': neither version of control groups is mounted with it")
    if controller not in (second / "cgroup.controllers").read_text().split():
        raise Broken(f"there is no controller '{controller}' in {second}, and none of version 1 is mounted")
    try:
        (second / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError as error:
        raise Broken(f"the controller '{controller}' of {second} cannot be handed to a group: {error.strerror}") from error
    return 2, second
