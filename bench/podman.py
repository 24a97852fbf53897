"""A container of podman that podman itself starts again (--restart=always), in the namespaces of a node.

Nothing of it is the host's: podman's storage is in the node's directory, its state in the node's own /run, its locks in a
/dev/shm of its own, its cgroups have the node's name, and its network namespace is one that is there already, as perdured's."""

import itertools
import os
import shutil
import subprocess

from support import cgroups
from support.node import until
from twin import make_network

RUNTIME = "/usr/sbin/runc"
_DEADLINE = 60.0  # seconds, of one command
_numbers = itertools.count(1)


class Unavailable(Exception):
    """Why podman cannot be measured here."""


class RestartedByPodman:
    def __init__(self, node, address):
        for program in ("podman", RUNTIME):
            if shutil.which(program) is None:
                raise Unavailable(f"{program} is not installed: scripts/setup installs it")
        self.node, self.address = node, address
        self.cgroup = f"{node.name}-podman"
        self.name = f"podman{next(_numbers)}"
        self.directory = f"/run/bench/{self.name}"
        os.makedirs(self._inside(self.directory))
        self.holder = None
        self.version = self._output(["podman", "--version"])

    def _inside(self, path):
        return f"/proc/{self.node.keeper_pid}/root{path}"

    def start(self, rootfs, command):
        make_network(self.node, f"{self.directory}/netns", self.address)
        self._hold_mounts()
        # Limits that are named and low: podman's own choice (1048576, or what its own process has set itself) may lie above the
        # hard limit, which nobody exceeds without CAP_SYS_RESOURCE. With :O podman mounts an overlay over the directory, as it
        # does for images, and changes nothing in it.
        limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        self.id = self.podman("run", "--detach", f"--name={self.name}", "--restart=always", f"--network=ns:{self.directory}/netns",
                              f"--cgroup-parent=/{self.cgroup}", *limits, "--log-driver=none", "--rootfs", f"{rootfs}:O",
                              *command)

    def _hold_mounts(self):
        """A mount namespace in which /dev/shm, where podman keeps locks, is not the host's."""
        self.holder = subprocess.Popen(
            self.node.argv(["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /dev/shm && echo && exec cat"]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lambda: cgroups.enter(self.node.bench_cgroup))
        if not self.holder.stdout.readline():
            raise Unavailable("no mount namespace of its own can be made for podman")

    def podman(self, *arguments):
        storage = os.path.join(self.node.state, self.name)
        return self._output(["podman", "--root", storage, "--runroot", f"{self.directory}/run", "--tmpdir", f"{self.directory}/tmp",
                             f"--runtime={RUNTIME}", "--cgroup-manager=cgroupfs", "--events-backend=file", *arguments])

    def _output(self, command):
        holder = self.holder.pid if self.holder else self.node.keeper_pid
        result = subprocess.run(["nsenter", "-t", str(holder), "-m", "-n", "--", *command], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=_DEADLINE,
                                preexec_fn=lambda: cgroups.enter(self.node.bench_cgroup))
        if result.returncode:
            raise Unavailable(f"podman: exit code {result.returncode}: {' '.join(result.stderr.split())[-300:]}")
        return result.stdout.strip()

    def pid(self):
        """That of the program, once podman is through with what it does after an end."""
        until(lambda: not self._busy(), "podman does not become quiet", step=0.05)
        found = until(lambda: cgroups.processes(f"{self.cgroup}/libpod-{self.id}"), "podman has not started it again")
        return found[0]

    def _busy(self):
        for pid in cgroups.processes(self.node.bench_cgroup):
            try:
                if open(f"/proc/{pid}/comm").read().strip() in ("podman", "runc"):
                    return True
            except OSError:
                pass  # ended meanwhile
        return False

    def close(self):
        if self.holder is None:
            return
        try:
            if hasattr(self, "id"):
                self.podman("rm", "--force", "--time=0", self.name)
        except (Unavailable, subprocess.TimeoutExpired):
            pass  # what is left is killed with the node's cgroups
        self.holder.stdin.close()
        self.holder.wait(_DEADLINE)
        self.holder.stdout.close()
        cgroups.kill(self.cgroup)
        cgroups.remove(self.cgroup)
