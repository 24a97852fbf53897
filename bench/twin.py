"""The container that runc checkpoints and restores: made from the bundle that perdured wrote for its own, with the same
root file system, limits, rights and volumes, but a writable layer, network namespace and cgroup of its own."""

import contextlib
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
_RESTORE_DEADLINE = 120.0  # seconds


def make_network(node, path, address):
    """A network namespace at `path` in the node's /run, with `address` on the node's bridge."""
    open(f"/proc/{node.keeper_pid}/root{path}", "w").close()
    node.execute("unshare", f"--net={path}", "true")
    enter = ["nsenter", f"--net={path}", "ip"]
    holder = subprocess.Popen(node.argv(["nsenter", f"--net={path}", "sleep", "60"]))
    try:
        name = f"twin{next(_numbers)}"
        until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink(f"/proc/{node.keeper_pid}/ns/net") and
              os.path.basename(os.readlink(f"/proc/{holder.pid}/exe")) != "nsenter", "no network namespace")
        node.execute("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
    finally:
        holder.kill()
        holder.wait()
    node.execute("ip", "link", "set", name, "master", "br0", "up")
    for arguments in (["link", "set", "lo", "up"], ["address", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
        node.execute(*enter, *arguments)


class Successor:
    """A runc that is started already and restores when it is told to. The life that it restores has an id and a cgroup of its
    own: what is left of the one before need not be deleted first."""

    def __init__(self, twin):
        self.twin, self.former = twin, twin.id
        twin.lives += 1
        twin.id = f"{twin.name}-{twin.lives}"
        twin.config["linux"]["cgroupsPath"] = f"/{twin.cgroup}/{twin.id}"
        twin._write_config()
        self.arguments = twin._restore_arguments()
        with twin._output() as writing:
            self.process = subprocess.Popen(
                twin._argv(self.arguments, ["sh", "-c", 'echo; read -r _ && exec "$@" </dev/null >&2', "sh"]), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=writing, preexec_fn=lambda: cgroups.enter(twin.node.bench_cgroup))
        self.process.stdout.readline()  # it waits

    def begin(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def finish(self):
        """Waits for runc's end, and deletes what is left of the life before."""
        try:
            self.twin._check(self.arguments, self.process.wait(_RESTORE_DEADLINE))
        finally:
            self.close()
        self.twin.runc("delete", "--force", self.former)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Twin:
    """In the namespaces of `node`. What belongs to it lies below /run/bench there: a tmpfs, the images too."""

    def __init__(self, node, name, address):
        self.node = node
        self.name = f"{name}-runc"
        self.id = self.name  # of the life that runs: see successor()
        self.lives = 1
        self.directory = f"/run/bench/{self.name}"
        self.images = f"{self.directory}/images"
        self.cgroup = f"{node.name}-runc"
        self.address = address
        self.pipes = []
        cgroups.create(self.cgroup)
        os.makedirs(self.inside(self.directory), exist_ok=True)
        self._copy_bundle(os.path.join(node.state, "state", "containers", name))
        make_network(self.node, f"{self.directory}/netns", self.address)
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

    def start(self):
        self._write_config()
        self.runc("run", "--detach", "--bundle", self.bundle, self.id)

    def _write_config(self):
        with open(self.inside(f"{self.bundle}/config.json"), "w") as file:
            json.dump(self.config, file)

    def runc(self, *arguments):
        """Runs runc in a cgroup of its own, so that its processor time and that of its CRIU can be told."""
        with self._output() as writing:
            result = subprocess.run(
                self._argv(arguments), stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, timeout=120,
                preexec_fn=lambda: cgroups.enter(self.node.bench_cgroup))
        self._check(arguments, result.returncode)

    def _argv(self, arguments, before=()):
        return self.node.argv([*before, "runc", "--root", "/run/bench/runc", "--log", f"{self.directory}/runc.log", *arguments])

    @contextlib.contextmanager
    def _output(self):
        """The container's output goes into a pipe, as perdured's does."""
        reading, writing = os.pipe()
        fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            yield writing
        finally:
            os.close(writing)
            self.pipes.append(reading)  # open until the bench ends

    def _check(self, arguments, returncode):
        if returncode:
            raise RuntimeError(f"runc {' '.join(arguments)}: exit code {returncode}:\n"
                               f"{self._last_words(f'{self.directory}/runc.log')}")

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
                  "--work-path", f"{self.directory}/work", self.id)

    def image_bytes(self):
        return sum(os.path.getsize(os.path.join(directory, name))
                   for directory, _, names in os.walk(self.inside(self.images)) for name in names)

    def kill(self):
        """Ends all processes and clears away what would keep `runc restore` from its work."""
        self.runc("kill", "--all", self.id, "KILL")
        until(lambda: self._is_stopped(), f"'{self.name}' does not end", step=0.005)
        self.runc("delete", "--force", self.id)
        # The kernel keeps closing sockets of the dead in a namespace that lives on; their ports would be taken.
        self.node.execute("nsenter", f"--net={self.directory}/netns", "ss", "-K", "-t", "state", "all", check=False)

    def _is_stopped(self):
        result = self.node.execute("runc", "--root", "/run/bench/runc", "state", self.id, check=False)
        return result.returncode != 0 or '"stopped"' in result.stdout

    def restore(self):
        self.runc(*self._restore_arguments())

    def _restore_arguments(self):
        return ["restore", "--detach", "--tcp-established", "--file-locks", "--image-path", self.images,
                "--work-path", f"{self.directory}/work", "--bundle", self.bundle, self.id]

    def init_pid(self):
        return json.loads(self.node.execute("runc", "--root", "/run/bench/runc", "state", self.id).stdout)["pid"]

    def successor(self):
        return Successor(self)

    def close(self):
        try:
            self.kill()
        except (RuntimeError, TimeoutError):
            pass
        for pipe in self.pipes:
            os.close(pipe)
        cgroups.kill(self.cgroup)
        cgroups.remove(self.cgroup)
