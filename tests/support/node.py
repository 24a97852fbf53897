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
import shutil
import signal
import subprocess
import sys
import threading
import time

import yaml

from . import cgroups, kernel, leftovers
from .clients import Client

DEADLINE = 60.0  # a loaded machine of two cores must pass
RUN_DIR = "/run/perdure"
_numbers = itertools.count(1)


class CommandFailed(Exception):
    """perdure ended with an exit code other than 0."""

    def __init__(self, arguments, result):
        self.code = result.returncode
        self.error = result.stderr.strip()
        super().__init__(f"perdure {' '.join(arguments)}: exit code {self.code}: {self.error}")

    def reply(self):
        """The error object of --json."""
        return json.loads(self.error.splitlines()[-1])["error"]


def until(condition, what, deadline=DEADLINE, step=0.01):
    """The first true value of condition(). For states that nobody announces; events are better."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise TimeoutError(f"after {deadline:.0f} s: {what}")
        time.sleep(step)


class Events:
    """Follows `perdure events` in a thread; goes on after a restart of the daemon."""

    def __init__(self, node):
        self.node = node
        self.seen = []
        self.changed = threading.Condition()
        self.closing = False
        self.process = None
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self):
        while not self.closing:
            try:
                self.process = self.node.popen_cli(["events", "--json", "--follow"], stdout=subprocess.PIPE,
                                                   stderr=subprocess.DEVNULL, text=True)
            except OSError:
                return
            for line in self.process.stdout:
                self._add(json.loads(line))
            self.process.wait()
            time.sleep(0.02)  # no daemon at the moment

    def _add(self, event):
        with self.changed:
            if not any(event["sequence"] == other["sequence"] for other in self.seen):
                event["received"] = time.clock_gettime(time.CLOCK_MONOTONIC)
                self.seen.append(event)
                self.changed.notify_all()

    def last_sequence(self):
        with self.changed:
            return max((event["sequence"] for event in self.seen), default=0)

    def of(self, container=None, after=0):
        with self.changed:
            return [event for event in self.seen
                    if event["sequence"] > after and container in (None, event["container"])]

    def wait(self, wanted, container=None, after=0, deadline=DEADLINE):
        """The first event later than sequence number `after` that is of the kind `wanted` (a word or a predicate)."""
        matches = wanted if callable(wanted) else lambda event: event["kind"] == wanted
        end = time.monotonic() + deadline
        with self.changed:
            while True:
                for event in self.seen:
                    if event["sequence"] > after and container in (None, event["container"]) and matches(event):
                        return event
                left = end - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    shown = "\n  ".join(f"{e['sequence']} {e['container']} {e['kind']}: {e['text']} {e['reason'] or ''}"
                                        for e in self.seen[-30:])
                    raise TimeoutError(f"after {deadline:.0f} s no event {wanted!r} of {container} after number "
                                       f"{after}; seen:\n  {shown}")

    def close(self):
        self.closing = True
        if self.process and self.process.poll() is None:
            self.process.kill()


class Node:
    """See the head of the file. `options` are further arguments for perdured."""

    def __init__(self, build_directory, state_directory, options=()):
        self.build = os.path.abspath(build_directory)
        self.state = os.path.abspath(state_directory)
        self.options = list(options)
        self.name = f"{leftovers.PREFIX}{os.getpid()}-{next(_numbers)}"
        self.perdured = os.path.join(self.build, "src/node/perdured")
        self.perdure = os.path.join(self.build, "src/cli/perdure")
        self.log = os.path.join(self.state, "perdured.log")
        self.log_pipe = None  # where perdured writes instead; who reads it fills self.log
        self.daemon_pid = None
        self.events = None
        self.exits = {}
        self.notified = []
        self._news = threading.Condition()
        self._replies = queue.Queue()
        self._request_lock = threading.Lock()

    # ---- The node itself ----

    def __enter__(self):
        os.makedirs(self.state, exist_ok=True)
        self.libexec = self._gather_libexec()
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keeper.py")
        self.keeper = subprocess.Popen([sys.executable, program, self.name], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True, start_new_session=True)
        threading.Thread(target=self._listen, daemon=True).start()
        self.keeper_pid = self._reply()["pid"]
        return self

    def __exit__(self, *_):
        self.close()

    def _gather_libexec(self):
        """perdured looks for its helpers in one directory, as they are installed."""
        directory = os.path.join(self.state, "libexec")
        os.makedirs(directory, exist_ok=True)
        for helper in ("src/runtime/perdure-logger", "src/capsule/criu/perdure-pagemap-filter.so",
                       "src/capsule/criu/perdure-standby.so"):
            link = os.path.join(directory, os.path.basename(helper))
            if os.path.lexists(link):
                os.unlink(link)
            os.symlink(os.path.join(self.build, helper), link)
        return directory

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
        argv = ["nsenter", "-t", str(self.keeper_pid), "-m", "-n", "--", self.perdured,
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

    def daemon_log(self):
        try:
            return open(self.log, errors="replace").read()
        except FileNotFoundError:
            return ""

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

    def execute(self, *arguments, check=True, **options):
        result = subprocess.run(self.argv(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                timeout=DEADLINE, **options)
        if check and result.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {result.stderr.strip()}")
        return result

    def popen_cli(self, arguments, **options):
        return subprocess.Popen(self.argv([self.perdure, "--socket", f"{RUN_DIR}/perdured.sock", *arguments]),
                                preexec_fn=lambda: cgroups.enter(f"{self.name}-clients"), **options)

    def try_cli(self, *arguments, input=None, timeout=180, text=True, **options):
        """CompletedProcess, whatever the exit code."""
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        if input is None:
            options.setdefault("stdin", subprocess.DEVNULL)
        else:
            options["stdin"] = subprocess.PIPE
        process = self.popen_cli([str(a) for a in arguments], text=text, **options)
        try:
            out, error = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, error = process.communicate()
            raise TimeoutError(f"perdure {' '.join(map(str, arguments))} took longer than {timeout} s: {error}") from None
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def cli(self, *arguments, **options):
        """Text output of a command; CommandFailed on an exit code other than 0."""
        result = self.try_cli(*arguments, **options)
        if result.returncode:
            raise CommandFailed([str(a) for a in arguments], result)
        return result.stdout

    def ask(self, *arguments, **options):
        """The JSON object that a command prints."""
        return json.loads(self.cli(*arguments, "--json", **options))

    # ---- Containers and clients ----

    def write_spec(self, spec):
        path = os.path.join(self.state, f"{spec['name']}.yaml")
        with open(path, "w") as file:
            yaml.safe_dump(spec, file, sort_keys=False)
        return path

    def run(self, spec):
        """Starts a container and waits until it is protected."""
        self.ask("run", "--yes", self.write_spec(spec))
        return Container(self, spec["name"])

    def container(self, name):
        return Container(self, name)

    def names(self):
        return [container["name"] for container in self.ask("list")["containers"]]

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


class Container:
    """A container by its name; holds no state of its own."""

    def __init__(self, node, name):
        self.node = node
        self.name = name

    def inspect(self):
        return self.node.ask("inspect", self.name)["container"]

    def generations(self):
        return self.node.ask("generations", self.name)["generations"]

    def checkpoint(self):
        return self.node.ask("checkpoint", self.name)

    def pids(self):
        return cgroups.processes(f"{self.node.name}/{self.name}")

    def init_pid(self):
        return self.inspect()["init_pid"]

    def kill(self, number=signal.SIGKILL):
        """Kills the first process behind perdured's back; returns (the last event's number, the clock's reading)."""
        pid = self.init_pid()
        after = self.node.events.last_sequence()
        os.kill(pid, number)
        return after, time.clock_gettime(time.CLOCK_MONOTONIC)

    def kill_and_wait(self):
        """... until it is restored; returns the event."""
        after, _ = self.kill()
        return self.wait_for_event("restored", after)

    def events(self, after=0):
        return self.node.events.of(self.name, after)

    def wait_for_event(self, wanted, after=0, deadline=DEADLINE):
        return self.node.events.wait(wanted, self.name, after, deadline)

    def wait_until(self, condition, what, deadline=DEADLINE):
        """... condition(inspect()) holds; returns what was inspected."""
        def look():
            status = self.inspect()
            return status if condition(status) else None
        return until(look, f"container '{self.name}': {what}; it is {json.dumps(self.inspect(), indent=1)}",
                     deadline, 0.05)

    def wait_until_protected(self, deadline=DEADLINE):
        return self.wait_until(lambda s: s["protection"]["state"] == "protected", "is not protected", deadline)

    def wait_for_newer_generation(self, than, deadline=DEADLINE):
        """The newest committed generation was captured after the one named `than`."""
        number = int(than.rsplit(".", 1)[1])
        return self.wait_until(
            lambda s: s["newest_committed"] and
            int(s["newest_committed"]["generation"].rsplit(".", 1)[1]) > number,
            f"has no generation newer than {than}", deadline)

    def logs(self, *arguments):
        return self.node.cli("logs", self.name, *arguments)

    def remove(self):
        return self.node.ask("rm", "--force", "--yes", self.name)
