"""The container that runc checkpoints and restores: made from the bundle that perdured wrote for its own, with the same
root file system, limits, rights and volumes, but a writable layer, network namespace and cgroup of its own."""

import fcntl
import itertools
import json
import os
import shutil
import subprocess

from support import cgroups
from support.node import until

_numbers = itertools.count(1)
_PIPE_BYTES = 1 << 20  # what a container says during a run, with room


class Twin:
    """In the namespaces of `node`. What belongs to it lies below /run/bench there: a tmpfs, the images too."""

    def __init__(self, node, name, address):
        self.node = node
        self.name = f"{name}-runc"
        self.directory = f"/run/bench/{self.name}"
        self.images = f"{self.directory}/images"
        self.cgroup = f"{node.name}-runc"
        self.address = address
        self.pipes = []
        cgroups.create(self.cgroup)
        os.makedirs(self.inside(self.directory), exist_ok=True)
        self._copy_bundle(os.path.join(node.state, "state", "containers", name))
        self._make_network()
        self.bundle = f"{self.directory}/bundle"
        os.makedirs(self.inside(self.bundle))

    def inside(self, path):
        """A path of the node's /run as this process sees it."""
        return f"/proc/{self.node.keeper_pid}/root{path}"

    def _copy_bundle(self, home):
        config = json.load(open(os.path.join(home, "bundle", "config.json")))
        lower = next(entry.split("lowerdir=")[1].split(",")[0]
                     for entry in open(f"/proc/{self.node.daemon_pid}/mountinfo")
                     if f"{home}/merged " in entry and "lowerdir=" in entry)
        layer = os.path.join(self.node.state, "twins", self.name)  # on the same disk as perdured's
        for part in ("upper", "work", "merged"):
            os.makedirs(os.path.join(layer, part))
        self.root = os.path.join(layer, "merged")
        self.node.execute("mount", "-t", "overlay", "overlay", "-o",
                          f"lowerdir={lower},upperdir={layer}/upper,workdir={layer}/work", self.root)
        config["root"]["path"] = self.root
        config["linux"]["cgroupsPath"] = f"/{self.cgroup}/{self.name}"
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"{self.directory}/netns"
        self.config = config

    def set_arguments(self, arguments):
        self.config["process"]["args"] = arguments

    def _make_network(self):
        open(self.inside(f"{self.directory}/netns"), "w").close()
        self.node.execute("unshare", f"--net={self.directory}/netns", "true")
        enter = ["nsenter", f"--net={self.directory}/netns", "ip"]
        holder = subprocess.Popen(self.node.argv(["nsenter", f"--net={self.directory}/netns", "sleep", "60"]))
        try:
            name = f"twin{next(_numbers)}"
            until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") !=
                  os.readlink(f"/proc/{self.node.keeper_pid}/ns/net") and
                  os.path.basename(os.readlink(f"/proc/{holder.pid}/exe")) != "nsenter", "no network namespace")
            self.node.execute("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns",
                              str(holder.pid))
        finally:
            holder.kill()
            holder.wait()
        self.node.execute("ip", "link", "set", name, "master", "br0", "up")
        for arguments in (["link", "set", "lo", "up"], ["address", "add", f"{self.address}/24", "dev", "eth0"],
                          ["link", "set", "eth0", "up"]):
            self.node.execute(*enter, *arguments)

    def start(self):
        with open(self.inside(f"{self.bundle}/config.json"), "w") as file:
            json.dump(self.config, file)
        self.runc("run", "--detach", "--bundle", self.bundle, self.name)

    def runc(self, *arguments):
        """Runs runc in a cgroup of its own, so that its processor time and that of its CRIU can be told."""
        log = f"{self.directory}/runc.log"
        # The container's output goes into a pipe, as perdured's does.
        reading, writing = os.pipe()
        fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            result = subprocess.run(
                self.node.argv(["runc", "--root", "/run/bench/runc", "--log", log, *arguments]),
                stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, timeout=120,
                preexec_fn=lambda: cgroups.enter(self.node.bench_cgroup))
        finally:
            os.close(writing)
            self.pipes.append(reading)  # open until the bench ends
        if result.returncode:
            raise RuntimeError(f"runc {' '.join(arguments)}: exit code {result.returncode}:\n"
                               f"{self._last_words(log)}")

    def _last_words(self, log):
        text = open(self.inside(log), errors="replace").read() if os.path.exists(self.inside(log)) else ""
        for name in ("dump.log", "restore.log"):
            path = self.inside(f"{self.directory}/work/{name}")
            if os.path.exists(path):
                text += "\n".join(line for line in open(path, errors="replace").read().splitlines()
                                  if "Error" in line)
        return text[-3000:]

    def checkpoint(self):
        shutil.rmtree(self.inside(self.images), ignore_errors=True)
        # Without tcp-established and file-locks runc refuses containers with connections and locks.
        self.runc("checkpoint", "--leave-running", "--tcp-established", "--file-locks", "--image-path", self.images,
                  "--work-path", f"{self.directory}/work", self.name)

    def image_bytes(self):
        return sum(os.path.getsize(os.path.join(directory, name))
                   for directory, _, names in os.walk(self.inside(self.images)) for name in names)

    def kill(self):
        """Ends all processes and clears away what would keep `runc restore` from its work."""
        self.runc("kill", "--all", self.name, "KILL")
        until(lambda: self._is_stopped(), f"'{self.name}' does not end", step=0.005)
        self.runc("delete", "--force", self.name)
        # The kernel keeps closing sockets of the dead in a namespace that lives on; their ports would be taken.
        self.node.execute("nsenter", f"--net={self.directory}/netns", "ss", "-K", "-t", "state", "all", check=False)

    def _is_stopped(self):
        result = self.node.execute("runc", "--root", "/run/bench/runc", "state", self.name, check=False)
        return result.returncode != 0 or '"stopped"' in result.stdout

    def restore(self):
        self.runc("restore", "--detach", "--tcp-established", "--file-locks", "--image-path", self.images,
                  "--work-path", f"{self.directory}/work", "--bundle", self.bundle, self.name)

    def close(self):
        try:
            self.kill()
        except (RuntimeError, TimeoutError):
            pass
        for pipe in self.pipes:
            os.close(pipe)
        cgroups.kill(self.cgroup)
        cgroups.remove(self.cgroup)
