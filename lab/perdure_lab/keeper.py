#!/usr/bin/python3
"""The keeper of a lab: parent of its nodes, holder of its switch and of its clients' namespaces. Started by lab.py:

    keeper.py NAME LOCK-DESCRIPTOR GUARDIAN-DESCRIPTOR GUARDIAN-PID

Writes one line on standard output when it can be spoken to; then standard output and error are keeper.log. It speaks lines of
JSON on control.sock: requests {"id": N, "op": ..., ...} are answered by {"id": N, ...} or {"id": N, "error": TEXT,
"remedy": TEXT}; everybody connected is told of every change of a node by {"node": {...}} (Machine.describe). It waits for
nothing: who asked waits for the news. When it ends, by itself or killed, nodes and clients die, and its guardian removes what
is left.
"""

import collections
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from perdure_lab import cgroups, kernel, machine, remains, switch  # noqa: E402
from perdure_lab.remains import LabError  # noqa: E402

FIRST_CLIENT, LAST_CLIENT = 200, 254  # the last byte of their addresses
FREEZE_TIME = 10.0
MAX_CONNECTIONS = 64
MAX_UNSENT = 1 << 20  # of news, to one who does not read; then it is disconnected


def start_guardian(name, lock):
    """Returns the process and the descriptor whose end it waits for."""
    read_end, write_end = os.pipe()
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guardian.py")
    with open(os.path.join(remains.directory(name), "keeper.log"), "ab") as log:
        process = subprocess.Popen([sys.executable, "-IB", program, name, str(lock)], stdin=read_end, stdout=log,
                                   stderr=log, pass_fds=[lock], start_new_session=True)
    os.close(read_end)
    return process, write_end


class Poll:
    """poll(2) that also watches a descriptor for its end alone (events 0)."""

    Key = collections.namedtuple("Key", "fd data")

    def __init__(self):
        self.poll = select.poll()
        self.keys = {}

    def register(self, file, events, data):
        fd = file if isinstance(file, int) else file.fileno()
        self.keys[fd] = self.Key(fd, data)
        self.poll.register(fd, events)

    def modify(self, file, events):
        self.poll.modify(file.fileno(), events)

    def unregister(self, file):
        fd = file if isinstance(file, int) else file.fileno()
        del self.keys[fd]
        self.poll.unregister(fd)

    def wait(self):
        return [self.keys[fd] for fd, _ in self.poll.poll()]


class Connection:
    def __init__(self, sock):
        self.socket = sock
        self.pending = b""
        self.unsent = b""
        self.tethered = False  # the lab ends with it

    def say(self, message):
        self.unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self):
        try:
            while self.unsent:
                sent = self.socket.send(self.unsent)
                self.unsent = self.unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent = b""  # its end is read as well


class Clients:
    """Network namespaces on the LAN, each kept by a process that lives until its standard input ends."""

    def __init__(self, lab, lan):
        self.lab = lab
        self.lan = lan
        self.holders = {}  # number of the client: (process, connection)
        cgroups.create(f"{lab.cgroup}/clients")

    def add(self, connection):
        free = [n for n in range(FIRST_CLIENT, LAST_CLIENT + 1) if n not in self.holders]
        if not free:
            raise LabError(f"there are {len(self.holders)} clients already", "close some")
        number = free[0]
        holder = subprocess.Popen(["unshare", "--net", "--", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE,
                                  preexec_fn=lambda: cgroups.enter(f"{self.lab.cgroup}/clients"))
        holder.stdout.readline()  # the namespace is there
        self.holders[number] = (holder, connection)
        port = f"client{number}"
        self.lan.plug(port, holder.pid)
        v4, v6 = machine.addresses(number)
        switch.run_ip(["link set lo up", "link set eth0 up", f"address add {v4} dev eth0",
                       f"address add {v6} dev eth0 nodad"], holder.pid)
        return {"pid": holder.pid, "addresses": [v4, v6], "interface": port}

    def remove_of(self, connection, port=None):
        for number, (holder, owner) in list(self.holders.items()):
            if owner is connection and port in (None, f"client{number}"):
                self.lan.unplug(f"client{number}")
                holder.stdin.close()
                holder.wait()
                holder.stdout.close()
                del self.holders[number]


class Keeper:
    def __init__(self, name, lock, guardian, guardian_pid):
        self.lab = remains.Description.load(name)
        self.lock = lock
        self.guardian = guardian
        self.guardian_pid = guardian_pid
        self.poll = Poll()
        self.connections = []
        self.ending = False
        self.started = time.time()

    def prepare(self):
        kernel.set_process_name("lab-keeper")
        cgroups.create(self.lab.cgroup)
        kernel.unshare(kernel.CLONE_NEWNET)
        self.lan = switch.Switch()
        self.clients = Clients(self.lab, self.lan)
        self.machines = {}
        for number in range(1, self.lab.nodes + 1):
            self.machines[number] = machine.Machine(self.lab, number, self.lan, lambda n=number: self._tell(n))
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = os.path.join(remains.directory(self.lab.name), "control.sock")
        before = os.umask(0o077)
        self.listener.bind(path)
        os.umask(before)
        self.listener.listen(MAX_CONNECTIONS)
        self.listener.setblocking(False)

    def _tell(self, number):
        for connection in self.connections:
            connection.say({"node": self.machines[number].describe()})

    def _machine(self, request):
        number = request["node"]
        if number not in self.machines:
            raise LabError(f"there is no node {number}", f"the nodes of this lab are 1 to {self.lab.nodes}")
        return self.machines[number]

    def _port(self, name):
        known = {f"node{n}" for n in self.machines} | {f"client{n}" for n in self.clients.holders}
        if name not in (switch.EVERYBODY, switch.CLIENTS, switch.NODES) and name not in known:
            raise LabError(f"there is no '{name}' on the LAN", "there are " + ", ".join(sorted(known)))
        return name

    # ---- Requests: each returns its answer, or None if that comes later ----

    def op_describe(self, connection, request):
        return {"name": self.lab.name, "disks": self.lab.disks, "disks_are_ours": self.lab.disks_are_ours,
                "nodes": [m.describe() for m in self.machines.values()], "cuts": sorted(self.lan.cuts),
                "clients": [f"client{n}" for n in sorted(self.clients.holders)], "keeper_pid": os.getpid(), "guardian_pid": self.guardian_pid,
                "age_s": time.time() - self.started, "disk_size": self.lab.disk_size, "witness": self.lab.witness,
                "libexec": self.lab.libexec, "perdure": self.lab.perdure, "perdured": self.lab.perdured}

    def op_tether(self, connection, request):
        connection.tethered = request["holds"]
        return {}

    def op_boot(self, connection, request):
        one = self._machine(request)
        if one.state != "down":
            raise LabError(f"{one.name} is not off: it is {one.state}", f"'kill {one.number}' switches it off")
        self.poll.register(one.boot(), select.POLLIN, one)
        return {}

    def op_kill(self, connection, request):
        """One, or several at once: all are silent before the first dies."""
        victims = [self._machine({"node": number}) for number in request.get("nodes") or [request["node"]]]
        for one in victims:
            one.silence()
        for one in victims:
            one.kill()
        return {}

    def op_on_air(self, connection, request):
        return {"ports": {one.name: list(one.on_air) for one in self.machines.values()}}

    def op_pause(self, connection, request):
        one = self._machine(request)
        if one.state == "paused":
            return {}
        self._need_up(one)
        one.set_paused(True)
        end = time.monotonic() + FREEZE_TIME
        while not one.is_frozen():
            if time.monotonic() > end:
                one.set_paused(False)
                raise LabError(f"{one.name} did not stop within {FREEZE_TIME:.0f} s and goes on",
                               "a process that the kernel cannot stop now; try again")
            time.sleep(0.001)
        return {}

    def op_resume(self, connection, request):
        one = self._machine(request)
        if one.state == "paused":
            one.set_paused(False)
        else:
            self._need_up(one)
        return {}

    @staticmethod
    def _need_up(one):
        if one.state == "paused":
            raise LabError(f"{one.name} is paused", f"'resume {one.number}' lets it go on")
        if one.state != "up":
            raise LabError(f"{one.name} is {one.state}", f"'boot {one.number}' starts it")

    def op_start_daemon(self, connection, request):
        one = self._machine(request)
        self._need_up(one)
        if one.daemon_runs():
            raise LabError(f"perdured runs on {one.name} already")
        one.start_daemon(request.get("log"), request.get("options") or [],
                         lambda answer: connection.say({"id": request["id"], **answer}))
        return None

    def op_signal_daemon(self, connection, request):
        one = self._machine(request)
        if not one.daemon_runs() or one.daemon["pid"] is None:
            raise LabError(f"perdured does not run on {one.name}", f"'daemon {one.number} start' starts it")
        os.kill(one.daemon["pid"], request["signal"])
        return {}

    def op_find_etcd(self, connection, request):
        one = self._machine(request)
        pid = one.find_etcd()
        if pid is None:
            raise LabError(f"no etcd runs on {one.name}", "the first three nodes of a cluster have one, of five the first five")
        return {"pid": pid}

    def op_find_pid(self, connection, request):
        one = self._machine(request)
        return {"pid": machine.find_pid(one.cgroup, request["pid"])}

    def op_cut(self, connection, request):
        a, b = self._port(request["from"]), self._port(request["to"])
        if a == b and a != switch.NODES:
            raise LabError(f"'{a}' cannot be cut from itself", "name two")
        service = request.get("service", switch.EVERYTHING)
        if service not in switch.SERVICES:
            raise LabError(f"'{service}' is nothing that a cut can be limited to",
                           "there are " + ", ".join(filter(None, switch.SERVICES)))
        self.lan.cut(a, b, request["both_ways"], service)
        return {}

    def op_heal(self, connection, request):
        self.lan.heal(request.get("one"), request.get("other"))
        return {}

    def op_add_client(self, connection, request):
        return self.clients.add(connection)

    def op_remove_client(self, connection, request):
        self.clients.remove_of(connection, request["interface"])
        return {}

    def op_down(self, connection, request):
        if request.get("purge"):
            os.write(self.guardian, b"purge\n")
        self.ending = True
        return {}

    def handle(self, connection, line):
        identifier = None
        try:
            request = json.loads(line)
            identifier = request["id"]
            operation = getattr(self, f"op_{request['op']}", None)
            if operation is None:
                raise LabError(f"the keeper does not know '{request['op']}'",
                               "it is of another version: take the lab down and up again")
            answer = operation(connection, request)
            if answer is not None:
                connection.say({"id": identifier, **answer})
        except LabError as error:
            connection.say({"id": identifier, "error": error.message, "remedy": error.remedy})
        except switch.CutImpossible as error:
            connection.say({"id": identifier, "error": str(error), "remedy": ""})
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # told to who asked
            connection.say({"id": identifier, "error": f"{type(error).__name__}: {error}", "remedy":
                            f"{remains.directory(self.lab.name)}/keeper.log may say more"})

    # ---- Events ----

    def accept(self):
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        if len(self.connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        connection = Connection(sock)
        self.connections.append(connection)
        self.poll.register(sock, select.POLLIN, connection)

    def hear(self, connection):
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.disconnect(connection)
            return
        connection.pending += data
        *lines, connection.pending = connection.pending.split(b"\n")
        for line in lines:
            self.handle(connection, line)

    def disconnect(self, connection):
        self.poll.unregister(connection.socket)
        connection.socket.close()
        self.connections.remove(connection)
        self.clients.remove_of(connection)
        self.ending = self.ending or connection.tethered

    def reap(self):
        by_pid = {one.pid: one for one in self.machines.values() if one.pid}
        for pid, one in by_pid.items():
            reaped, _ = os.waitpid(pid, os.WNOHANG)
            if reaped:
                if one.init.fileno() in self.poll.keys:
                    self.poll.unregister(one.init)
                one.ended()

    def watch_guardian(self):
        """Its end of the pipe is closed: it was killed. Another one takes its place."""
        self.poll.unregister(self.guardian)
        os.close(self.guardian)
        print("the guardian was killed; there is another one", flush=True)
        process, self.guardian = start_guardian(self.lab.name, self.lock)
        self.guardian_pid = process.pid
        self.poll.register(self.guardian, 0, "guardian")

    def dispatch(self, key):
        if key.data == "listener":
            self.accept()
        elif key.data == "guardian":
            self.watch_guardian()
        elif key.data == "children":
            try:
                os.read(key.fd, 4096)
            except BlockingIOError:
                pass
        elif isinstance(key.data, Connection):
            self.hear(key.data)
        else:
            one = key.data
            if not one.hear():
                self.poll.unregister(one.init)
                one.kill()  # its init is gone, maybe without us: the host is dead

    def run(self):
        wake_read, wake_write = os.pipe()
        for end in (wake_read, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(self.listener, select.POLLIN, "listener")
        self.poll.register(wake_read, select.POLLIN, "children")
        self.poll.register(self.guardian, 0, "guardian")
        while not self.ending:
            for connection in self.connections:
                self.poll.modify(connection.socket, select.POLLIN | (select.POLLOUT if connection.unsent else 0))
            for key in self.poll.wait():
                if self.poll.keys.get(key.fd) is key:  # not gone meanwhile
                    self.dispatch(key)
            self.reap()
            for connection in list(self.connections):
                connection.flush()
                if len(connection.unsent) > MAX_UNSENT:
                    self.disconnect(connection)


def main():
    name, lock, guardian, guardian_pid = sys.argv[1], *map(int, sys.argv[2:5])
    for descriptor in (lock, guardian):
        os.set_inheritable(descriptor, False)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{machine.PATH}"  # ip and nft are in sbin
    keeper = Keeper(name, lock, guardian, guardian_pid)
    keeper.prepare()
    print("ready", flush=True)
    os.dup2(2, 1)
    keeper.run()


if __name__ == "__main__":
    main()
