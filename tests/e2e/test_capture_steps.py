"""perdured is killed at each step of a checkpoint, of retention and of a container's record: the container lives on as
if nothing had been, is protected again, the generations before are untouched, and nothing is left behind.

Each step is a line of perdured's log (--log-level debug). perdured is killed while the thread that takes the step waits
to write that line (held_log.py): what comes before has happened, what comes after has not. The last test compares the
lines with those of checkpoints that nobody disturbed: a new step without a test fails it."""

import hashlib
import json
import os
import re
import signal

import pytest
import faults
from held_log import HeldLog
from specs import PORT, ipv4, make_spec
from support import cgroups
from support.node import DEADLINE, until

NODE_OPTIONS = ["--log-level", "debug"]
BALLAST = 24  # megabytes
TOUCHED = 12  # more than what is copied ahead of a freeze, and so much that every third generation is complete
CAPSULE = r"'[-0-9a-f]+\.capsule'"

# What perdured is about to do, and how often it may have done that before.
CHECKPOINT_STEPS = {
    "begin": (r"checkpoint: beginning generation", 0),
    "copy memory ahead": (r"checkpoint: copying memory ahead", 0),
    "freeze": (r"checkpoint: freezing", 0),
    "while CRIU waits with frozen processes": (r"checkpoint: frozen", 0),
    "copy files while CRIU dumps": (r"checkpoint: copying files", 0),
    "read memory after CRIU's dump": (r"checkpoint: dumped", 0),
    "thaw": (r"checkpoint: thawing", 0),
    "after the thaw": (r"checkpoint: thawed", 0),
    "compare": (r"checkpoint: comparing", 0),
    "encode what changed": (r"checkpoint: encoding what changed", 0),
    "encode everything": (r"checkpoint: encoding everything", 0),
    "write": (rf"store: writing {CAPSULE}", 0),
    "sync": (rf"store: syncing {CAPSULE}", 0),
    "name": (rf"store: naming {CAPSULE}", 0),
    "sync the name": (rf"store: syncing the name {CAPSULE}", 0),
    "commit": (r"checkpoint: committing", 0),
    "tell the policy": (r"capture-finished", 0),
    "remove an old generation": (rf"store: removing {CAPSULE}", 0),
    "remove another": (rf"store: removing {CAPSULE}", 1),
}


class Stage:
    """A node with one container; perdured takes checkpoints of it when it is asked to."""

    def __init__(self, node):
        self.node = node
        node.kill_daemon()
        self.held = HeldLog(node)
        node.start_daemon()
        self.spec = make_spec("counter", "counter.py", BALLAST, checkpoint={"interval": "1h"})
        self.container = node.run(self.spec)
        self.directory = os.path.join(node.state, "state", "capsules", "counter")

    def lines(self):
        return self.node.client().lines(ipv4(self.spec), PORT)

    def capsules(self):
        """The digests of the files under their final names."""
        digests = {}
        for name in os.listdir(self.directory):
            try:
                content = open(os.path.join(self.directory, name), "rb").read()
            except FileNotFoundError:
                continue  # removed meanwhile
            if name.endswith(".capsule"):
                digests[name] = hashlib.sha256(content).hexdigest()
        return digests

    def removed(self):
        """The files that perdured was about to remove, at any time."""
        return set(re.findall(r"store: removing '([^']+)'", "\n".join(self.held.lines)))

    def temporary_files(self):
        return {os.path.join(directory, name) for directory, below, names in os.walk(os.path.join(self.node.state, "state"))
                if "rw" not in below or not below.remove("rw")  # the container's own files
                for name in names if name.endswith(".tmp")}

    def scratch(self):
        directory = f"/proc/{self.node.keeper_pid}/root/run/perdure/scratch"
        return {(entry.name, entry.inode()) for entry in os.scandir(directory)}

    def cgroups(self):
        """All but the leaf that each life of the container has of its own."""
        return {directory for mount in cgroups.all_mounts()
                for name in (self.node.name, self.node.daemon_cgroup())
                for directory, _, _ in os.walk(os.path.join(mount, name)) if "/life-" not in directory}

    def lives(self):
        container = os.path.join(cgroups.v2_mount(), self.node.name, "counter")
        return [name for name in os.listdir(container) if name.startswith("life-")]

    def criu_processes(self):
        return set(faults.processes_called("criu", self.node.daemon_cgroup()))


@pytest.fixture(scope="module")
def stage(node):
    stage = Stage(node)
    yield stage
    stage.held.close()


@pytest.fixture(autouse=True)
def running(stage):
    """Also where the test before failed halfway."""
    stage.held.disarm()
    if not stage.node.daemon_runs():
        stage.node.start_daemon()


def end_at(stage, step, provoke):
    """Kills perdured at the step that `provoke` leads to, sooner or later."""
    pattern, passing = step
    stage.held.arm(pattern, passing)

    def provoked():
        if not stage.held.hit.is_set():
            provoke()
        return stage.held.hit.is_set()
    until(provoked, f"perdured does not log {pattern!r}")
    wait_for_end(stage)


def wait_for_end(stage):
    assert stage.held.hit.wait(DEADLINE), "perdured does not log what is waited for"
    stage.held.disarm()
    stage.node.wait_for_daemon_end()
    stage.held.check_that_it_was_held()


class Before:
    """What must be as it was, and what must be gone, when the next perdured has taken over."""

    def __init__(self, stage):
        self.stage = stage
        self.capsules = stage.capsules()
        self.cgroups = stage.cgroups()

    def look_at_the_dead(self):
        """What perdured left."""
        stage = self.stage
        self.check_capsules(self.capsules)
        self.capsules = stage.capsules()
        self.temporary_files, self.scratch, self.criu = stage.temporary_files(), stage.scratch(), stage.criu_processes()

    def check(self):
        stage = self.stage
        until(lambda: not self.criu & stage.criu_processes(), "a CRIU of the last perdured runs")
        assert not self.temporary_files & stage.temporary_files()
        assert not self.scratch & stage.scratch()
        assert self.cgroups == stage.cgroups()
        assert len(stage.lives()) <= 2  # the one before is removed by the next if the kernel has not done with it
        self.check_capsules(self.capsules)
        for generation in stage.container.generations():
            assert generation["committed"] and not generation["bad"], generation
            stage.node.cli("export", "--generation", generation["generation"], "counter", "-", text=False)

    def check_capsules(self, expected):
        """They are there and the same, but those that perdured said it would remove."""
        def changed():
            found = self.stage.capsules()
            return {name for name, digest in expected.items() if found.get(name) != digest} - self.stage.removed()
        until(lambda: not changed(), "capsules are changed or gone")


@pytest.mark.parametrize("step", CHECKPOINT_STEPS.values(), ids=CHECKPOINT_STEPS.keys())
def test_killed_at(stage, step):
    container = stage.container
    container.wait_until_protected()
    before = Before(stage)
    lines = stage.lines()
    life = lines.ask("pid")
    numbers = []

    def checkpoint():
        lines.ask(f"touch {TOUCHED}")
        numbers.append(lines.ask("incr"))
        stage.node.try_cli("checkpoint", "counter")
    end_at(stage, step, checkpoint)
    before.look_at_the_dead()
    if "syncing '" in stage.held.held_line or "naming '" in stage.held.held_line:
        assert before.temporary_files, "written, without its name"

    stage.node.start_daemon()
    container.wait_until_protected()
    until(lambda: not faults.is_frozen(container), "stays frozen")
    before.check()
    assert stage.lines().ask("pid") == life, "the same processes run on"
    assert stage.lines().ask("get") == numbers[-1]
    container.checkpoint()
    container.kill_and_wait()
    lines = stage.lines()
    assert [lines.ask("pid"), lines.ask("get"), lines.ask("file")] == [life, numbers[-1], numbers[-1]]


def die_with_half_a_record(stage, restores):
    """Kills the container, and perdured when the record that it then writes (the first: of the death, the second: of
    what was restored) is complete and does not have its name yet. Whether it was the record with so many more restores:
    one may have slipped through."""
    path = os.path.join(stage.node.state, "state/containers/counter/state.json")
    counted = lambda path: json.load(open(path))["restores"]
    before = counted(path)
    stage.held.arm(r"naming '.*/containers/counter/state\.json'", restores)
    os.kill(stage.container.init_pid(), signal.SIGKILL)
    until(lambda: stage.held.hit.is_set() or counted(path) > before, "the container is not restored")
    if not stage.held.hit.is_set():
        stage.held.disarm()
        return False
    wait_for_end(stage)
    left, = [path for path in stage.temporary_files() if "/containers/counter/.state.json." in path]
    return counted(left) == before + restores


@pytest.mark.parametrize("restores", [0, 1], ids=["of a death", "of a restore"])
def test_killed_while_a_record_is_written(stage, restores):
    container = stage.container

    def died():
        if not stage.node.daemon_runs():
            stage.node.start_daemon()
        container.wait_until_protected()
        container.checkpoint()
        died.before = Before(stage)
        return die_with_half_a_record(stage, restores)
    container.wait_until_protected()
    number = stage.lines().ask("incr")
    until(died, "perdured does not write the record")
    died.before.look_at_the_dead()

    stage.node.start_daemon()
    container.wait_until_protected()
    died.before.check()
    assert stage.lines().ask("get") == number
    container.checkpoint()
    container.kill_and_wait()
    assert stage.lines().ask("get") == number


def test_every_step_of_a_checkpoint_is_in_the_table(stage):
    lines = [line for line in stage.held.lines if re.search(" counter: (checkpoint|store): ", line)]
    assert lines
    assert not [line for line in lines if not any(re.search(pattern, line) for pattern, _ in CHECKPOINT_STEPS.values())]
