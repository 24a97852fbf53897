"""Where a lab keeps what it needs, and how all of it is removed: by `down`, by the guardian of a lab whose keeper died, and
by the next command that finds a lab without both.

  /run/perdure-lab/NAME.lock   held by keeper and guardian: the lab is alive while somebody holds it
  /run/perdure-lab/NAME/       lab.json (Description), control.sock, keeper.log
  DISKS/nodeN, DISKS/nodeN.log the nodes' disks; DISKS is /var/lib/perdure-lab/NAME unless the user names one
  DISKS/nodeN.disk             the file system that a disk with a size is, mounted in the node alone

Namespaces, mounts and links vanish with the last process; processes are killed by cgroup.
"""

import dataclasses
import errno
import fcntl
import json
import os
import re
import shutil
import time

from . import cgroups

RUN = "/run/perdure-lab"
STATE = "/var/lib/perdure-lab"
CGROUP_PREFIX = "perdure-lab-"
MAX_NODES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class LabError(RuntimeError):
    """What happened, and what to do about it."""

    def __init__(self, message, remedy=""):
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}; {remedy}" if remedy else message)


def check_name(name):
    if not _NAME.fullmatch(name):
        raise LabError(f"'{name}' is no name of a lab", "use up to 31 of a-z, 0-9 and -")
    return name


@dataclasses.dataclass
class Description:
    """What is known of a lab before anything of it is made; enough to remove it."""
    name: str
    disks: str               # directory
    disks_are_ours: bool     # made by `up`, to be removed by `down`
    nodes: int               # with the witness
    witness: bool            # the last node is one
    boottime: dict           # node (as text): seconds that its boot clock is ahead
    options: list            # further arguments of perdured
    perdured: str
    perdure: str
    libexec: str
    disk_size: int | None = None  # bytes of a node's disk; None: it is a directory of this machine's

    @property
    def cgroup(self):
        return CGROUP_PREFIX + self.name

    def save(self):
        path = os.path.join(directory(self.name), "lab.json")
        with open(path + ".new", "w") as file:
            json.dump(dataclasses.asdict(self), file)
        os.rename(path + ".new", path)

    @classmethod
    def load(cls, name):
        """None if there is none that can be read."""
        try:
            with open(os.path.join(directory(name), "lab.json")) as file:
                return cls(**json.load(file))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def directory(name):
    return os.path.join(RUN, name)


def _lock_path(name):
    return os.path.join(RUN, f"{name}.lock")


def take_lock(name):
    """A descriptor that is the lock of the lab; None: somebody holds it."""
    while True:
        try:
            # FileExistsError too: it was there for mkdir(2), and gone when Python looked what it was.
            os.makedirs(RUN, mode=0o755, exist_ok=True)
        except FileExistsError:
            if os.path.exists(RUN) and not os.path.isdir(RUN):
                raise
            continue
        try:
            descriptor = os.open(_lock_path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # RUN was removed meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(_lock_path(name))):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its name is gone or another's: who held it has removed the lab


def wait_for_lock(name, deadline):
    """As take_lock, but waits for who holds it."""
    end = time.monotonic() + deadline
    while True:
        lock = take_lock(name)
        if lock is not None or time.monotonic() > end:
            return lock
        time.sleep(0.01)


def drop_lock(name, descriptor):
    """The lab is removed: so is its lock."""
    os.unlink(_lock_path(name))
    os.close(descriptor)
    _remove_if_empty(RUN)


def is_alive(name):
    lock = take_lock(name) if os.path.exists(_lock_path(name)) else -1
    if lock is None:
        return True
    if lock >= 0:
        os.close(lock)
    return False


def names():
    """Of all labs that live or have left something."""
    found = set()
    for path in (RUN, STATE):
        for entry in os.listdir(path) if os.path.isdir(path) else []:
            found.add(entry[:-len(".lock")] if entry.endswith(".lock") else entry)
    for mount in cgroups.all_mounts():
        found |= {entry[len(CGROUP_PREFIX):] for entry in os.listdir(mount) if entry.startswith(CGROUP_PREFIX)}
    return sorted(name for name in found if _NAME.fullmatch(name))


def remove_disks(disks):
    """What the nodes of a lab wrote, and nothing else that may be in the directory."""
    for entry in os.listdir(disks) if os.path.isdir(disks) else []:
        path = os.path.join(disks, entry)
        if entry == "libexec" or re.fullmatch(r"node\d+", entry):
            shutil.rmtree(path)
        elif re.fullmatch(r"node\d+\.(log|disk|disk\.new)", entry):
            os.unlink(path)


def make_disks(directory):
    while not os.path.isdir(directory):
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        except FileNotFoundError:  # another lab has removed what they have in common
            pass


def _remove_if_empty(directory):
    """Other labs may use it, or remove it at the same time."""
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise


def remove_lab(name, purge=False):
    """Kills and removes everything of the lab. The caller holds its lock. Returns what could not be removed."""
    lab = Description.load(name)
    cgroup = CGROUP_PREFIX + name
    left = []
    try:
        # The hosts before their containers, so that nothing is restored.
        top = os.path.join(cgroups.v2_mount(), cgroup)
        for entry in sorted(os.listdir(top)) if os.path.isdir(top) else []:
            if os.path.isdir(os.path.join(top, entry, "system")):
                cgroups.kill(f"{cgroup}/{entry}/system")
        cgroups.kill(cgroup)
        left += cgroups.remove(cgroup)
        own = os.path.join(STATE, name)
        if lab is None or lab.disks_are_ours:
            if os.path.isdir(own):
                shutil.rmtree(own)
            _remove_if_empty(STATE)
        else:
            shutil.rmtree(os.path.join(lab.disks, "libexec"), ignore_errors=True)
            if purge:
                remove_disks(lab.disks)
    except OSError as error:
        left.append(str(error))
    if not left:
        shutil.rmtree(directory(name), ignore_errors=True)
    return left
