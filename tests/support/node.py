"""A node: a perdured with namespaces, bridge, clients and cgroups of its own on this machine.

    with Node(build_directory, state_directory) as node:
        node.start_daemon()
        container = node.run(spec(...))
        container.kill()
        container.wait_for_event("restored")

All waits take a deadline and raise TimeoutError with what was seen. Nothing of the host's network is touched.
"""

import ipaddress
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading

from perdure_lab.clients import Client
from perdure_lab.host import DEADLINE, RUN_DIR, CommandFailed, Container, Events, Host, stop_process, until  # noqa: F401
from perdure_lab.programs import Programs

from . import leftovers

_numbers = itertools.count(1)


class Node(Host):
    """See the head of the file. `options` are further arguments for perdured."""

    def __init__(self, build_directory, state_directory, options=()):
        super().__init__()
        self.programs = Programs.of_build(build_directory)
        self.state = os.path.abspath(state_directory)
        self.options = list(options)
        self.name = f"{leftovers.PREFIX}{os.getpid()}-{next(_numbers)}"
        self.containers_cgroup = self.name
        self.commands_cgroup = f"{self.name}-clients"
        self.perdure = self.programs.perdure
        self.log = os.path.join(self.state, "perdured.log")
        self.log_pipe = None  # where perdured writes instead; who reads it fills self.log
        self.daemon_pid = None
        self.exits = {}
        self.notified = []
        self._news = threading.Condition()
        self._replies = queue.Queue()
        self._request_lock = threading.Lock()

    # ---- The node itself ----

    def __enter__(self):
        os.makedirs(self.state, exist_ok=True)
        self.libexec = self.programs.libexec_for(self.state)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keeper.py")
        self.keeper = subprocess.Popen([sys.executable, program, self.name], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True, start_new_session=True)
        threading.Thread(target=self._listen, daemon=True).start()
        self.keeper_pid = self._reply()["pid"]
        return self

    def __exit__(self, *_):
        self.close()

    def _listen(self):
        for line in self.keeper.stdout:
            message = json.loads(line)
            with self._news:
                if "exited" in message:
                    self.exits[message["exited"]] = message["status"]
                elif "notify" in message:
                    self.notified.append(message["notify"])
                else:
                    self._replies.put(message)
                self._news.notify_all()

    def _reply(self):
        try:
            reply = self._replies.get(timeout=DEADLINE)
        except queue.Empty:
            raise TimeoutError(f"the keeper of {self.name} does not answer") from None
        if "error" in reply:
            raise RuntimeError(f"{self.name}: {reply['error']}")
        return reply

    def _request(self, **request):
        with self._request_lock:
            self.keeper.stdin.write(json.dumps(request) + "\n")
            self.keeper.stdin.flush()
            return self._reply()

    def close(self):
        """Kills and removes everything of the node but the state directory."""
        if self.events:
            self.events.close()
        self.keeper.stdin.close()
        self.keeper.wait(DEADLINE)

    # ---- The daemon ----

    def start_daemon(self, wait=True):
        with self._news:
            self.notified.clear()
        argv = ["nsenter", "-t", str(self.keeper_pid), "-m", "-n", "--", self.programs.perdured,
                "--run-dir", RUN_DIR, "--state-dir", os.path.join(self.state, "state"),
                "--libexec-dir", self.libexec, "--cgroup", self.name, "--group", "root", *self.options]
        self.daemon_pid = self._request(op="start", argv=argv, log=self.log_pipe or self.log)["pid"]
        if wait:
            self.wait_until_ready()
        if self.events is None:
            self.events = Events(self)
        return self.daemon_pid

    def wait_until_ready(self, deadline=DEADLINE):
        with self._news:
            ready = self._news.wait_for(
                lambda: "READY=1" in self.notified or self.daemon_pid in self.exits, deadline)
            if not ready or self.daemon_pid in self.exits:
                raise RuntimeError(f"perdured did not become ready ({'ended' if ready else 'silent'}):\n"
                                   f"{self.daemon_log()[-3000:]}")

    def daemon_runs(self):
        return self.daemon_pid is not None and self.daemon_pid not in self.exits

    def kill_daemon(self, number=signal.SIGKILL):
        """Ends perdured and waits until it is gone; returns its wait status."""
        os.kill(self.daemon_pid, number)
        return self.wait_for_daemon_end()

    def wait_for_daemon_end(self, deadline=DEADLINE):
        with self._news:
            if not self._news.wait_for(lambda: self.daemon_pid in self.exits, deadline):
                raise TimeoutError(f"perdured ({self.daemon_pid}) did not end in {deadline:.0f} s")
            return self.exits[self.daemon_pid]

    def daemon_cgroup(self):
        """perdured and what it starts: CRIU, runc, loggers."""
        return f"{self.name}-node"

    # ---- Commands ----

    def argv(self, arguments):
        """Runs in the namespaces of the node."""
        return ["nsenter", "-t", str(self.keeper_pid), "-m", "-n", "--", *arguments]

    # ---- Clients ----

    def client(self, *addresses):
        """A new network namespace on the bridge."""
        addresses = addresses or self._client_addresses()
        made = self._request(op="client", addresses=list(addresses))
        return Client(made["pid"], [str(ipaddress.ip_interface(a).ip) for a in addresses], made["interface"])

    def cut(self, client):
        """Nothing reaches the client any more, nor does it notice."""
        self.execute("ip", "link", "set", client.interface, "nomaster")

    def heal(self, client):
        self.execute("ip", "link", "set", client.interface, "master", "br0")

    def _client_addresses(self):
        self._clients = getattr(self, "_clients", 99) + 1
        return f"10.77.0.{self._clients}/24", f"fd77::{self._clients:x}/64"


