"""A node of the lab: a host made of namespaces (PID, mount, UTS, network, time on demand) and a cgroup subtree.

  CGROUP/system      init, perdured and what it starts
  CGROUP/containers  what perdured's containers are in
  CGROUP/commands    what somebody runs on the node from outside

The keeper, which is its parent, drives it from one thread; the node dies with the keeper.
"""

import collections
import errno
import json
import os
import signal
import socket
import sys
import time

from . import cgroups, kernel
from .remains import LabError
from .switch import run, run_ip

BRIDGE = "br0"
RUN_DIR = "/run/perdure"
LIVES_KEPT = 256  # of each node: when it was plugged in and when it lost its power
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PREFIX_V4, _PREFIX_V6 = "10.78.0", "fd78:"


def addresses(number):
    return f"{_PREFIX_V4}.{number}/24", f"{_PREFIX_V6}:{number:x}/64"


def address(number):
    return f"{_PREFIX_V4}.{number}"


class Machine:
    def __init__(self, lab, number, switch, tell):
        """`tell()` is called after every change of what describe() says."""
        self.lab = lab
        self.number = number
        self.name = f"node{number}"
        self.switch = switch
        self.tell = tell
        self.cgroup = f"{lab.cgroup}/{self.name}"
        self.containers_cgroup = f"{self.cgroup}/containers"
        self.disk = os.path.join(lab.disks, self.name)
        self.log = os.path.join(lab.disks, f"{self.name}.log")
        self.boottime = lab.boottime.get(str(number))
        self.pid = None        # of its init, here
        self.state = "down"    # down, booting, up, paused, dying
        self.boots = 0
        self.on_air = collections.deque(maxlen=LIVES_KEPT)  # [plugged, silenced or None], CLOCK_MONOTONIC in ns
        self.init = None       # socket
        self.pending = b""
        self.waiting = {}      # token: called with init's answer
        self.tokens = 0
        self._forget_daemon()

    def _forget_daemon(self):
        self.daemon = {"state": "none", "pid": None, "status": None}
        self.daemon_local_pid = None

    def describe(self):
        return {"number": self.number, "name": self.name, "state": self.state, "pid": self.pid, "boots": self.boots,
                "boottime": self.boottime, "daemon": dict(self.daemon), "cgroup": self.cgroup}

    # ---- On and off ----

    def boot(self):
        """Returns the socket to its init; the rest follows when that has spoken."""
        assert self.state == "down"
        for name in ("system", "containers", "commands"):
            cgroups.create(f"{self.cgroup}/{name}")
        os.makedirs(self.disk, exist_ok=True)
        ours, theirs = socket.socketpair()
        try:
            with kernel.children_in_new_pid_namespace(self.boottime):
                pid = os.fork()
                if pid == 0:
                    self._become(theirs)
        except OSError as error:
            ours.close()
            if error.errno != errno.ERANGE:
                raise
            raise LabError(f"{self.name}: a boot clock cannot be {self.boottime:+d} s from the host's",
                           "it would be below zero or too large") from None
        finally:
            theirs.close()
        self.pid, self.init, self.pending = pid, ours, b""
        self.state = "booting"
        self.boots += 1
        self.tell()
        return ours

    def _become(self, keeper):
        """In the child: never returns."""
        try:
            kernel.die_with_parent(signal.SIGKILL)
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            cgroups.enter(f"{self.cgroup}/system")
            kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWNET)
            kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
            kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
            if self.lab.disk_size is not None:
                self._mount_disk()
            socket.sethostname(self.name)
            os.dup2(keeper.fileno(), 0)
            program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "init.py")
            os.execv(sys.executable, [sys.executable, "-IB", program])
        except BaseException as error:
            print(f"{self.name}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)

    def _mount_disk(self):
        """A file system of its own, seen by the node alone; what is on it outlives the node."""
        image = f"{self.disk}.disk"
        if not os.path.exists(image):
            with open(image + ".new", "wb") as file:
                file.truncate(self.lab.disk_size)
            run("mkfs.ext4", "-q", "-F", "-m", "0", image + ".new")
            os.rename(image + ".new", image)
        run("mount", "-o", "loop", image, self.disk)

    def _connect(self):
        mac = f"02:70:64:00:00:{self.number:02x}"
        self.on_air.append([time.monotonic_ns(), None])
        self.switch.plug(self.name, self.pid, mac)
        v4, v6 = addresses(self.number)
        # An address of its own: the bridge would take the lowest of its ports', and change it with them.
        run_ip(["link set lo up", f"link add {BRIDGE} address {mac} type bridge stp_state 0 forward_delay 0",
                f"link set eth0 master {BRIDGE}", "link set eth0 up", f"link set {BRIDGE} up",
                f"address add {v4} dev {BRIDGE}", f"address add {v6} dev {BRIDGE} nodad"], self.pid)

    def silence(self):
        """Nothing that it sends gets anywhere."""
        if self.name in self.switch.ports and self.on_air[-1][1] is None:
            self.on_air[-1][1] = time.monotonic_ns()
            self.switch.silence(self.name)

    def kill(self):
        """As a host dies that loses its power: it sends nothing more, no FIN either."""
        if self.state in ("down", "dying"):
            return
        self.silence()
        self.state = "dying"
        os.kill(self.pid, signal.SIGKILL)
        # What runs on it from outside as well; and the frozen ones, which die as they are.
        with open(os.path.join(cgroups.v2_mount(), self.cgroup, "cgroup.kill"), "w") as file:
            file.write("1")
        self.tell()

    def ended(self):
        """Its init is reaped, and so everything in its PID namespace is dead."""
        self.init.close()
        self.init, self.pid = None, None
        cgroups.kill(self.cgroup)
        self.switch.unplug(self.name)
        left = cgroups.remove(self.cgroup)
        if left:
            print(f"{self.name}: cgroups are left: {', '.join(left)}", flush=True)
        self._forget_daemon()
        for answer in self.waiting.values():
            answer({"error": f"{self.name} is dead"})
        self.waiting.clear()
        self.state = "down"
        self.tell()

    def set_paused(self, paused):
        with open(os.path.join(cgroups.v2_mount(), self.cgroup, "cgroup.freeze"), "w") as file:
            file.write("1" if paused else "0")
        self.state = "paused" if paused else "up"
        self.tell()

    def is_frozen(self):
        with open(os.path.join(cgroups.v2_mount(), self.cgroup, "cgroup.events")) as file:
            return "frozen 1" in file.read()

    # ---- What its init says ----

    def hear(self):
        """Called when the socket is readable; returns False at its end."""
        try:
            data = self.init.recv(65536)
        except ConnectionError:
            data = b""
        self.pending += data
        *lines, self.pending = self.pending.split(b"\n")
        for line in lines:
            self._handle(json.loads(line))
        return bool(data)

    def _handle(self, message):
        if "up" in message:
            self._connect()
            self.state = "up"
            self.tell()
        elif "token" in message:
            self.waiting.pop(message["token"], lambda _: None)(message)
        elif message.get("exited") == self.daemon_local_pid:
            self.daemon.update(state="ended", status=message["status"])
            self.tell()
        elif message.get("notify") == "READY=1":
            self.daemon["state"] = "ready"
            self.tell()

    # ---- The daemon ----

    def start_daemon(self, log, options, answer):
        """`answer` is called with {"pid": N} or {"error": TEXT}. `log`: a file or a FIFO instead of its usual log; `options`: more
        than those of the lab."""
        def started(message):
            if "error" in message:
                self.daemon["state"] = "none"
                answer({"error": message["error"]})
            else:
                self.daemon_local_pid = message["started"]
                self.daemon["pid"] = find_pid(f"{self.cgroup}/system", message["started"])
                answer({"pid": self.daemon["pid"]})
            self.tell()
        lab = self.lab
        if not os.path.exists(lab.perdured):
            raise RuntimeError(f"{lab.perdured} is not there any more")
        environment = {"PATH": f"{os.path.dirname(lab.perdure)}:{PATH}", "LC_ALL": "C.UTF-8", "WATCHDOG_USEC": "4000000"}
        argv = [lab.perdured, "--run-dir", RUN_DIR, "--state-dir", self.disk, "--libexec-dir", lab.libexec,
                "--cgroup", self.containers_cgroup, "--group", "root", *lab.options, *options]
        self.daemon = {"state": "starting", "pid": None, "status": None}
        self.tokens += 1
        self.waiting[self.tokens] = started
        self.init.sendall(json.dumps({
            "token": self.tokens, "argv": argv, "environment": environment, "log": log or self.log,
            "cgroup": os.path.join(cgroups.v2_mount(), self.cgroup, "system")}).encode() + b"\n")
        self.tell()

    def find_etcd(self):
        """The PID here of the node's etcd; None: it does not run."""
        for pid in cgroups.processes(self.cgroup):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if os.path.basename(words[0]) == b"etcd" and f"--data-dir={self.disk}/etcd".encode() in words:
                return pid
        return None

    def daemon_runs(self):
        return self.daemon["state"] in ("starting", "ready")


def find_pid(cgroup, local_pid):
    """The number here of what a PID namespace one below calls `local_pid`; None: it is not in the cgroup."""
    for pid in cgroups.processes(cgroup):
        try:
            with open(f"/proc/{pid}/status") as file:
                numbers = next(line for line in file if line.startswith("NSpid:")).split()[1:]
        except (OSError, StopIteration):
            continue
        if len(numbers) > 1 and int(numbers[1]) == local_pid:
            return pid
    return None
