"""A lab as a program uses it:

    with Lab(nodes=3) as lab:
        node = lab.nodes[1]
        container = node.run(spec)
        client = lab.client()
        node.kill()

All waits take a deadline and raise TimeoutError with what was seen. The lab ends with the `with` block, and with the process
that made it; Lab.attach(name) speaks to one that `perdure lab up` made.
"""

import ipaddress
import itertools
import json
import os
import select
import socket
import subprocess
import sys
import threading

from . import cgroups, remains
from .clients import Client
from .cluster import form_cluster
from .host import DEADLINE, until
from .keeper import start_guardian
from .monitor import Monitor
from .node import LabNode, open_process
from .programs import Programs
from .remains import LabError
from .switch import EVERYBODY, EVERYTHING

REMOVAL_TIME = 300.0  # with unpacked images on its disks, on a busy machine
LOOK_AT_LOCK = 1.0  # seconds; whoever asks whether a lab lives takes its lock for an instant


class Connection:
    """To the keeper: requests are answered, and every change of a node is kept."""

    def __init__(self, name):
        self.name = name
        self.changed = threading.Condition()
        self.nodes = {}     # number: as the keeper describes it
        self.exits = {}     # PID of a perdured: wait status
        self._answers = {}
        self._numbers = itertools.count(1)
        self._ended = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(os.path.join(remains.directory(name), "control.sock"))
        self._writing = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()
        for node in self.ask("describe")["nodes"]:
            with self.changed:
                self.nodes.setdefault(node["number"], node)

    def _listen(self):
        pending = b""
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
            with self.changed:
                pending += data
                *lines, pending = pending.split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
                self._ended = self._ended or not data
                self.changed.notify_all()
            if not data:
                return

    def _take(self, message):
        if "node" in message:
            node = message["node"]
            self.nodes[node["number"]] = node
            if node["daemon"]["state"] == "ended" or node["daemon"]["pid"] is None:
                self.exits[node["daemon"]["pid"]] = node["daemon"]["status"]
        else:
            self._answers[message.pop("id")] = message

    def ask(self, op, deadline=DEADLINE, **arguments):
        number = next(self._numbers)
        with self._writing:
            try:
                self._socket.sendall(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
            except OSError:
                pass  # the listener has seen it
        with self.changed:
            if not self.changed.wait_for(lambda: number in self._answers or self._ended, deadline):
                raise TimeoutError(f"the keeper of lab '{self.name}' does not answer")
            if number not in self._answers:
                raise LabError(f"the keeper of lab '{self.name}' is gone", "'perdure lab up' starts another lab")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise LabError(answer["error"], answer.get("remedy", ""))
        return answer

    def wait_for(self, condition, what, deadline=DEADLINE):
        """`condition()` holds, looked at after every news."""
        with self.changed:
            if not self.changed.wait_for(lambda: condition() or self._ended, deadline):
                raise TimeoutError(f"after {deadline:.0f} s: {what}; nodes: {json.dumps(self.nodes)}")
            if not condition():
                raise LabError(f"the keeper of lab '{self.name}' is gone", "'perdure lab up' starts another lab")

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


class Lab:
    def __init__(self, nodes=3, name=None, disks=None, build=None, options=(), boottime=None, witness=False,
                 cluster=False, programs=None, disk_size=None, timing=None, durable_directory=None):
        """`disk_size`: bytes; each node's disk is a file system of that size, which can be full, and only the node sees it.
        `boottime`: {number of a node: seconds that its boot clock is ahead}. `disks`: a directory that stays; without it
        one is made and removed. `witness`: one more node, the last, which is to run no containers. `cluster`: the `with`
        block begins when the nodes are one; without it they stand alone. `timing`, `durable_directory`: of that cluster, as
        `perdure cluster init` takes them."""
        self.name = remains.check_name(name or f"test-{os.getpid()}-{next(_numbers)}")
        total = nodes + (1 if witness else 0)
        if not 1 <= total <= remains.MAX_NODES:
            raise LabError(f"{total} nodes", f"a lab has 1 to {remains.MAX_NODES}")
        for number in boottime or {}:
            if not 1 <= number <= total:
                raise LabError(f"a boot clock for node {number}", f"the nodes are 1 to {total}")
        self.programs = programs or Programs.find(build)
        self._wanted = {"nodes": total, "witness": witness, "options": list(options), "disk_size": disk_size,
                        "boottime": {str(number): offset for number, offset in (boottime or {}).items()}}
        self._named_disks = disks
        self.wanted_nodes, self._cluster = total, cluster
        self._init = [*(["--timing", timing] if timing else []),
                      *(["--durable-directory", durable_directory] if durable_directory else [])]
        self.for_people = False
        self._children, self._monitors = [], []

    # ---- Beginning and end ----

    @classmethod
    def attach(cls, name):
        """To a lab that runs; its end is not ours."""
        lab = cls.__new__(cls)
        lab.name = remains.check_name(name)
        lab.for_people, lab._children, lab._monitors, lab.programs = False, [], [], None
        try:
            lab.connection = Connection(name)
        except OSError:
            if remains.is_alive(name):
                raise LabError(f"lab '{name}' is starting or ending", "try again in a moment") from None
            raise LabError(f"there is no lab '{name}'", "'perdure lab up' starts one") from None
        lab._know(lab.connection.ask("describe"))
        return lab

    def _know(self, description):
        self.disks, self.perdure = description["disks"], description["perdure"]
        self.cgroup = remains.CGROUP_PREFIX + self.name
        self.nodes = {node["number"]: LabNode(self, node["number"]) for node in description["nodes"]}
        self.witness = max(self.nodes) if description["witness"] else None
        self.disk_size = description["disk_size"]

    def start(self, tethered=True):
        """The keeper with the switch; no node is on. Removes what a dead lab of this name left."""
        lock = None

        def take():
            nonlocal lock
            lock = remains.take_lock(self.name)
            return lock is not None
        try:
            until(take, "", LOOK_AT_LOCK, 0.02)
        except TimeoutError:
            raise LabError(f"lab '{self.name}' runs already", "'perdure lab down' ends it; --name makes another one") from None
        left = remains.remove_lab(self.name)
        if left:
            os.close(lock)
            raise LabError(f"what a dead lab '{self.name}' left cannot be removed: {', '.join(left)}", "remove it by hand")
        try:
            self._describe()
            self._start_keeper(lock)
        except BaseException:
            if not self._children:
                remains.remove_lab(self.name)
                remains.drop_lock(self.name, lock)
            raise
        os.close(lock)
        self.connection = Connection(self.name)
        if tethered:
            self.connection.ask("tether", holds=True)
        self._know(self.connection.ask("describe"))

    def keep(self):
        """The lab outlives this process."""
        self.connection.ask("tether", holds=False)

    def _describe(self):
        disks = os.path.realpath(self._named_disks or os.path.join(remains.STATE, self.name))
        if (disks + "/").startswith(("/run/", "/proc/", "/sys/")):
            raise LabError(f"the nodes do not see '{disks}': they have a {disks.split('/')[1]} of their own",
                           "choose another directory")
        remains.make_disks(disks)
        os.makedirs(remains.directory(self.name), mode=0o700)
        remains.Description(
            name=self.name, disks=disks, disks_are_ours=self._named_disks is None, perdured=self.programs.perdured,
            perdure=self.programs.perdure, libexec=self.programs.libexec_for(disks), **self._wanted).save()

    def _start_keeper(self, lock):
        guardian, its_end = start_guardian(self.name, lock)
        self._children.append(guardian)  # from here on it removes everything
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keeper.py")
        log_path = os.path.join(remains.directory(self.name), "keeper.log")
        with open(log_path, "ab") as log:
            keeper = subprocess.Popen([sys.executable, "-IB", program, self.name, str(lock), str(its_end), str(guardian.pid)],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                      pass_fds=[lock, its_end], start_new_session=True)
        os.close(its_end)
        self._children.append(keeper)
        said = keeper.stdout.readline()
        keeper.stdout.close()
        if said != b"ready\n":
            keeper.wait()
            raise LabError(f"the lab could not be made: {_last_line(log_path)}")

    def __enter__(self):
        self.start()
        try:
            for node in self.nodes.values():
                node._ask("boot")
            for node in self.nodes.values():
                node.wait_until_up()
                node.start_daemon(wait=False)
            for node in self.nodes.values():
                node.wait_until_ready()
            if self._cluster:
                form_cluster(self, init=self._init)
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def down(self, purge=False):
        """Ends everything and waits until nothing is left. `purge`: the disks too, also in a directory that was named."""
        for node in self.nodes.values():
            node._forget_events()
        for monitor in self._monitors:
            monitor.abandon()
        ends = []
        try:
            description = self.connection.ask("describe")
            ends = [open_process(description[role]) for role in ("keeper_pid", "guardian_pid")]
            self.connection.ask("down", purge=purge)
        except LabError:
            pass  # the keeper is gone: its guardian is at work already
        self.connection.close()
        finish(self.name, purge)
        for descriptor in filter(None, ends):
            select.select([descriptor], [], [], DEADLINE)
            os.close(descriptor)
        for child in self._children:
            child.wait()

    def kill(self, *nodes):
        """Several hosts lose their power at once: none hears of another's death."""
        those = [node if isinstance(node, LabNode) else self.nodes[node] for node in nodes]
        self.connection.ask("kill", nodes=[node.number for node in those])
        for node in those:
            node.wait_until_off()

    # ---- Faults of the network ----

    def cut(self, one, other=None, one_way=False, only=EVERYTHING):
        """What the one sends does not reach the other (None: anybody), and the other way round unless `one_way`; the carrier
        stays. One and other are nodes, their numbers, clients, or "all", "nodes", "clients". `only`: of switch.SERVICES."""
        self.connection.ask("cut", **{"from": _port(one), "to": _port(EVERYBODY if other is None else other)},
                            both_ways=not one_way, service=only)

    def heal(self, one=None, other=None):
        """Ends all cuts, those of one, or those between two."""
        self.connection.ask("heal", one=None if one is None else _port(one), other=None if other is None else _port(other))

    def cuts(self):
        """(from, to) by the names of their ports, of those that are limited to a service (from, to, service)."""
        return [tuple(filter(None, cut)) for cut in self.connection.ask("describe")["cuts"]]

    # ---- Clients ----

    def client(self):
        """A new network namespace on the LAN, on no node; it ends with this connection to the lab."""
        made = self.connection.ask("add_client")
        return Client(made["pid"], [str(ipaddress.ip_interface(a).ip) for a in made["addresses"]], made["interface"])

    def remove_client(self, client):
        self.connection.ask("remove_client", interface=client.interface)

    def monitor(self, *whom, asking_from=None):
        """Who speaks for a container, or for addresses, from now on: see Monitor. It ends with the lab at the latest."""
        monitor = Monitor(self, *whom, asking_from=asking_from)
        self._monitors = [one for one in self._monitors if one.is_recording()] + [monitor]
        return monitor

    def enter_clients_cgroup(self):
        """For what runs in a client's namespace; between fork and exec."""
        cgroups.enter(f"{self.cgroup}/clients")


_numbers = itertools.count(1)


def _port(what):
    if isinstance(what, LabNode):
        return what.name
    if isinstance(what, Client):
        return what.interface
    return f"node{what}" if isinstance(what, int) else what


def _last_line(path):
    try:
        lines = open(path, errors="replace").read().strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "the keeper ended without a word"


def finish(name, purge=False):
    """Waits until the lab is removed; removes it if nobody else does. Returns whether there was anything to do."""
    there_was = name in remains.names()
    lock = remains.wait_for_lock(name, REMOVAL_TIME)
    if lock is None:
        raise LabError(f"lab '{name}' does not end", f"see {remains.directory(name)}/keeper.log")
    left = remains.remove_lab(name, purge)
    if left:
        os.close(lock)
        raise LabError(f"not everything of lab '{name}' could be removed: {', '.join(left)}", "remove it by hand")
    remains.drop_lock(name, lock)
    return there_was
