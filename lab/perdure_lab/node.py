"""A node of a lab as a program uses it. All waits take a deadline and raise TimeoutError with what was seen."""

import json
import os
import select
import signal

from . import machine, remains
from .host import DEADLINE, Events, Host, until
from .remains import LabError
from .switch import EVERYTHING


class LabNode(Host):
    def __init__(self, lab, number):
        super().__init__()
        self.lab = lab
        self.number = number
        self.name = f"node{number}"
        self.address = machine.address(number)
        self.cgroup = f"{lab.cgroup}/{self.name}"
        self.containers_cgroup = f"{self.cgroup}/containers"
        self.commands_cgroup = f"{self.cgroup}/commands"
        self.state = os.path.join(lab.disks, self.name)
        self.log = os.path.join(lab.disks, f"{self.name}.log")
        self.perdure = lab.perdure

    def describe(self):
        with self.lab.connection.changed:
            return self.lab.connection.nodes[self.number]

    def _ask(self, op, **arguments):
        return self.lab.connection.ask(op, node=self.number, **arguments)

    def _wait(self, condition, what, deadline=DEADLINE):
        self.lab.connection.wait_for(lambda: condition(self.lab.connection.nodes[self.number]),
                                     f"{self.name}: {what}", deadline)

    # ---- The host ----

    def boot(self, daemon=True):
        """Starts the host with its disk, and perdured on it; waits until that is ready."""
        self._ask("boot")
        self.wait_until_up()
        if daemon:
            self.start_daemon()

    def wait_until_up(self):
        self._wait(lambda node: node["state"] != "booting", "does not boot")
        if self.describe()["state"] != "up":
            raise LabError(f"{self.name} did not boot", f"see {remains.directory(self.lab.name)}/keeper.log")

    def kill(self):
        """The host loses its power: its port is dead first, then everything on it. Returns when it is off."""
        self._ask("kill")
        self.wait_until_off()

    def wait_until_off(self):
        self._wait(lambda node: node["state"] == "down", "does not die")
        self._forget_events()

    def silent_since(self):
        """When its port was silenced because it was killed, CLOCK_MONOTONIC in ns; None: it is on the air."""
        return self.lab.connection.ask("on_air")["ports"][self.name][-1][1]

    def pause(self):
        """The whole host stands still, its clocks go on."""
        self._ask("pause")

    def resume(self):
        self._ask("resume")

    def cut(self, other=None, one_way=False, only=EVERYTHING):
        """See Lab.cut()."""
        self.lab.cut(self, other, one_way, only)

    def heal(self, other=None):
        self.lab.heal(self, other)

    # ---- perdured ----

    @property
    def daemon_pid(self):
        return self.describe()["daemon"]["pid"]

    def start_daemon(self, wait=True, log=None, options=()):
        """`options`: of this life of perdured only."""
        pid = self._ask("start_daemon", log=log, options=list(options))["pid"]
        if wait:
            self.wait_until_ready()
        if self.events is None and not self.lab.for_people:
            self.events = Events(self)
        return pid

    def wait_until_ready(self, deadline=DEADLINE):
        self._wait(lambda node: node["daemon"]["state"] in ("ready", "ended", "none"), "perdured is not ready", deadline)
        if self.describe()["daemon"]["state"] != "ready":
            raise LabError(f"perdured of {self.name} ended instead of becoming ready:\n{self.daemon_log()[-3000:]}",
                           f"its log is {self.log}")

    def daemon_runs(self):
        return self.describe()["daemon"]["state"] in ("starting", "ready")

    def kill_daemon(self, number=signal.SIGKILL):
        """Ends perdured and waits until it is gone; returns its wait status."""
        self._ask("signal_daemon", signal=int(number))
        return self.wait_for_daemon_end()

    def pause_daemon(self):
        """perdured stands still (SIGSTOP), all its threads; its containers and its etcd go on. Returns when it does."""
        os.kill(self.daemon_pid, signal.SIGSTOP)
        until(lambda: _stands_still(self.daemon_pid), f"perdured of {self.name} does not stop", step=0.001)

    def resume_daemon(self):
        os.kill(self.daemon_pid, signal.SIGCONT)

    # ---- etcd ----

    def etcd_pid(self):
        """Of the member on the node, as this process sees it. LabError: there is none."""
        return self._ask("find_etcd")["pid"]

    def kill_etcd(self):
        """Returns when that process is gone; perdured starts another one."""
        end = open_process(self.etcd_pid())
        if end is not None:
            signal.pidfd_send_signal(end, signal.SIGKILL)
            select.select([end], [], [], DEADLINE)
            os.close(end)

    def pause_etcd(self):
        """It does not answer, and keeps its connections; perdured goes on."""
        pid = self.etcd_pid()
        os.kill(pid, signal.SIGSTOP)
        until(lambda: _stands_still(pid), f"etcd of {self.name} does not stop", step=0.001)

    def resume_etcd(self):
        os.kill(self.etcd_pid(), signal.SIGCONT)

    # ---- Disks ----

    def write_spec(self, spec):
        if self.lab.disk_size is None:
            return super().write_spec(spec)
        path = os.path.join(self.state, f"{spec['name']}.yaml")
        with open(f"/proc/{self.describe()['pid']}/root{path}", "w") as file:
            json.dump(spec, file, indent=1)
        return path

    def fill_disk(self):
        """Nothing more can be written to its disk: that needs one with a size (Lab(disk_size=...))."""
        if self.lab.disk_size is None:
            raise LabError(f"the disk of {self.name} is this machine's and cannot be filled",
                           "give the lab disks of a size: 'up --disk-size 2G'")
        # What others free meanwhile is taken too.
        self.execute("sh", "-c", 'for unit in 1M 4K; do dd if=/dev/zero of="$1" bs=$unit oflag=append conv=notrunc 2>&1; done; '
                     'sync "$1"; df --output=avail "$1" | grep -qx " *0"', "sh", self._filler())

    def free_disk(self):
        self.execute("rm", "-f", self._filler())

    def _filler(self):
        return os.path.join(self.state, "filler")

    def fill_run(self):
        """Its memory disk, /run, has no room for another page."""
        used = os.statvfs(f"/proc/{self.describe()['pid']}/root/run")
        # One page more than there is, for 0 would be no limit; that page is taken.
        self._size_run(str((used.f_blocks - used.f_bfree + 1) * used.f_bsize))
        self.execute("sh", "-c", "head -c 4096 /dev/zero > /run/filler", check=False)

    def free_run(self):
        self._size_run("50%")
        self.execute("rm", "-f", "/run/filler")

    def _size_run(self, size):
        self.execute("mount", "-o", f"remount,size={size}", "/run")

    def wait_for_daemon_end(self, deadline=DEADLINE):
        self._wait(lambda node: node["daemon"]["state"] not in ("starting", "ready"), "perdured does not end", deadline)
        return self.describe()["daemon"]["status"]

    def daemon_cgroup(self):
        """perdured and what it starts: CRIU, runc, loggers; the node's init too."""
        return f"{self.cgroup}/system"

    # ---- Commands on it ----

    def argv(self, arguments):
        node = self.describe()
        if node["state"] == "paused":  # what enters it would stand still as well
            raise LabError(f"{self.name} is paused", f"'resume {self.number}' lets it go on")
        if node["state"] != "up":
            raise LabError(f"{self.name} is off", f"'boot {self.number}' starts it")
        # With the PID namespace nsenter forks; what it started is not to outlive it.
        return ["nsenter", "-t", str(node["pid"]), "-m", "-u", "-n", "-p",
                *(["-T"] if node["boottime"] is not None else []),
                "--", "setpriv", "--pdeathsig", "KILL", *arguments]

    def host_pid(self, pid):
        return None if pid is None else self._ask("find_pid", pid=pid)["pid"]

    def _forget_events(self):
        """A host that boots again has another perdured, which counts its events from where its disk says."""
        if self.events is not None:
            self.events.close()
            self.events = None


def _stands_still(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] not in "Tt":
                return False
    return True


def open_process(pid):
    """Readable when the process has ended; None: it has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
