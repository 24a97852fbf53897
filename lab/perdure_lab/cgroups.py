"""The cgroups of a node: everything that runs on it is below two names of the version 2 hierarchy, so that all of it
can be measured, killed and removed, whatever became of who started it."""

import functools
import os
import time


@functools.lru_cache(None)
def v2_mount():
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return fields[4]
    raise RuntimeError("no cgroup2 hierarchy is mounted")


@functools.lru_cache(None)
def all_mounts():
    mounts = []
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
            mounts.append(fields[4])
    return mounts


def create(name):
    path = os.path.join(v2_mount(), name)
    os.makedirs(path, exist_ok=True)
    return path


def beginning_with(prefix):
    """The names at the top of any hierarchy that begin so."""
    return {entry for mount in all_mounts() for entry in os.listdir(mount) if entry.startswith(prefix)}


def processes(name):
    """Of the cgroup and all below it."""
    found = []
    for directory, _, files in os.walk(os.path.join(v2_mount(), name)):
        if "cgroup.procs" in files:
            try:
                found += [int(line) for line in open(os.path.join(directory, "cgroup.procs"))]
            except OSError:
                pass  # removed meanwhile
    return found


def cpu_usec(name):
    """Processor time of all that ever ran in the cgroup and below; 0 if it is not there."""
    try:
        for line in open(os.path.join(v2_mount(), name, "cpu.stat")):
            if line.startswith("usage_usec "):
                return int(line.split()[1])
    except FileNotFoundError:
        pass
    return 0


def kill(name, deadline=20.0):
    """Kills everything inside, frozen or not, and waits until it is gone."""
    path = os.path.join(v2_mount(), name)
    if not os.path.isdir(path):
        return
    with open(os.path.join(path, "cgroup.kill"), "w") as file:
        file.write("1")
    for directory, _, _ in os.walk(path):
        try:
            with open(os.path.join(directory, "cgroup.freeze"), "w") as file:
                file.write("0")
        except OSError:
            pass
    end = time.monotonic() + deadline
    while processes(name) and time.monotonic() < end:
        time.sleep(0.005)


def remove(name, deadline=5.0):
    """Removes the emptied cgroup from every hierarchy; returns the directories that could not be."""
    left = []
    end = time.monotonic() + deadline
    for mount in all_mounts():
        top = os.path.join(mount, name)
        for directory, _, _ in os.walk(top, topdown=False):
            while True:
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    pass
                except OSError:  # busy: the kernel takes a moment with dead processes
                    if time.monotonic() < end:
                        time.sleep(0.005)
                        continue
                    left.append(directory)
                break
    return left


def enter(name):
    """Moves the calling process; for use between fork and exec."""
    with open(os.path.join(v2_mount(), name, "cgroup.procs"), "w") as file:
        file.write("0")
