"""A host that runs perdured, as its commands are used: what a node of the lab and a node of the end-to-end tests share.

All waits take a deadline and raise TimeoutError with what was seen.
"""

import json
import os
import signal
import subprocess
import threading
import time

from . import cgroups

DEADLINE = 60.0  # seconds; a loaded machine of two cores must pass
RUN_DIR = "/run/perdure"


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


def stop_process(pid):
    """SIGSTOP, until it stands. One that comes while CRIU begins with the process fails that capture, and is lost with it."""
    def stands():
        try:
            with open(f"/proc/{pid}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
            if state in "RS":  # t: held by a tracer
                os.kill(pid, signal.SIGSTOP)
            return state == "T"
        except (FileNotFoundError, ProcessLookupError):
            return True  # somebody has noticed already, and killed it
    until(stands, f"process {pid} does not stop", step=0.002)


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
            except (OSError, RuntimeError, subprocess.SubprocessError):  # the host is off
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


class Host:
    """Derived classes have `name`, `perdure` (the program), `state` (a directory), `containers_cgroup`, `commands_cgroup`
    (names below the version 2 hierarchy) and `log` (perdured's), and define argv()."""

    def __init__(self):
        self.events = None

    def argv(self, arguments):
        """What runs `arguments` on the host."""
        raise NotImplementedError

    def host_pid(self, pid):
        """The number in this process's PID namespace of what the host calls `pid`."""
        return pid

    def daemon_log(self):
        try:
            return open(self.log, errors="replace").read()
        except FileNotFoundError:
            return ""

    def execute(self, *arguments, check=True, **options):
        result = subprocess.run(self.argv(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                timeout=DEADLINE, **options)
        if check and result.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {result.stderr.strip()}")
        return result

    def popen_cli(self, arguments, **options):
        return subprocess.Popen(self.argv([self.perdure, "--socket", f"{RUN_DIR}/perdured.sock", *arguments]),
                                preexec_fn=lambda: cgroups.enter(self.commands_cgroup), **options)

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

    # ---- Containers ----

    def write_spec(self, spec):
        path = os.path.join(self.state, f"{spec['name']}.yaml")
        with open(path, "w") as file:
            json.dump(spec, file, indent=1)  # which is YAML
        return path

    def run(self, spec):
        """Starts a container and waits until it is protected."""
        self.ask("run", "--yes", self.write_spec(spec))
        return Container(self, spec["name"])

    def container(self, name):
        return Container(self, name)

    def names(self):
        return [container["name"] for container in self.ask("list")["containers"]]


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
        return cgroups.processes(f"{self.node.containers_cgroup}/{self.name}")

    def init_pid(self):
        return self.node.host_pid(self.inspect()["init_pid"])

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
