"""CRIU dies in the middle of its work, the disk is full, capsules on disk are damaged: containers run on, the generation
before is used, and what happened is told."""

import glob
import os
import signal

import faults
import pytest
from conftest import _finish, _node
from specs import PORT, ipv4, make_spec
from support.node import CommandFailed, until


def kill_criu(container):
    for pid in faults.processes_called("criu", container.node.daemon_cgroup()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_criu_killed_during_a_dump(node, remove_after):
    remove_after.append("counter")
    spec = make_spec("counter", "counter.py", 64)
    container = node.run(spec)
    lines = node.client().lines(ipv4(spec), PORT)
    for _ in range(5):
        number = lines.ask("incr")
        container.checkpoint()
        lines.ask("touch 64")
        at = faults.At(lambda: faults.criu_is_dumping(container), lambda: kill_criu(container))
        until(lambda: not at.thread.is_alive(), "no dump was seen")
        assert at.stop()
        until(lambda: not faults.is_frozen(container), "stays frozen")
        # CRIU may have died while its code ran in the process; then that dies too, and comes back.
        until(lambda: node.try_cli("checkpoint", "counter").returncode == 0, "no checkpoint succeeds any more")
        lines = node.client().lines(ipv4(spec), PORT)
        assert lines.ask("get") == number
        container.wait_until_protected()


def test_criu_killed_during_a_restore(node, remove_after):
    remove_after.append("counter")
    spec = make_spec("counter", "counter.py", 64)
    container = node.run(spec)
    number = node.client().lines(ipv4(spec), PORT).ask("incr")
    container.checkpoint()

    def kill_restorer():
        for pid in faults.processes_called("criu", f"{node.name}/{container.name}"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    at = faults.At(lambda: faults.criu_is_restoring(container), kill_restorer)
    after, _ = container.kill()
    container.wait_for_event("restored", after)
    assert at.stop()
    assert node.client().lines(ipv4(spec), PORT).ask("get") == number


@pytest.fixture
def small_disk(request):
    """A node whose state directory has 96 MiB."""
    with _node("small-disk") as one:
        state = os.path.join(one.state, "state")
        os.makedirs(state)
        one.execute("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", state)
        one.start_daemon()
        yield one
        _finish(one, "small-disk")


def fill(node):
    """Leaves nothing of the state directory's file system."""
    path = os.path.join(node.state, "state", "ballast")
    node.execute("dd", "if=/dev/zero", f"of={path}", "bs=64k", check=False)
    return path


def test_full_disk(small_disk):
    spec = make_spec("counter", "counter.py", 8)
    container = small_disk.run(spec)
    client = small_disk.client()
    lines = client.lines(ipv4(spec), PORT)
    number = lines.ask("incr")
    container.checkpoint()
    after = small_disk.events.last_sequence()
    ballast = fill(small_disk)
    lines.ask("touch 8")
    with pytest.raises(CommandFailed):
        container.checkpoint()
    event = container.wait_for_event("capture_failed", after)
    assert "space" in event["reason"]
    status = container.wait_until(lambda s: s["protection"]["state"] in ("stale", "unprotected"),
                                  "is said to be protected")
    assert "space" in status["protection"]["reason"] + (status["protection"]["remedy"] or "")
    assert lines.ask("get") == number, "the container runs on"
    # What is there is enough to come back.
    container.kill_and_wait()
    assert client.lines(ipv4(spec), PORT).ask("get") == number
    small_disk.execute("rm", ballast)
    container.wait_until_protected()
    container.checkpoint()


def capsule_files(node, name):
    """Of the durable store, oldest first."""
    return sorted(glob.glob(os.path.join(glob.escape(node.state), "state", "capsules", name, "*.capsule")))


def cut(content):
    return content[:len(content) // 2]


def empty(content):
    return b""


def flip(position):
    def damage(content):
        at = min(len(content) - 1, int(len(content) * position))
        return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1:]
    damage.__name__ = f"flip-at-{position}"
    return damage


def zero_page(content):
    at = len(content) // 2
    return content[:at] + bytes(4096) + content[at + 4096:]


@pytest.mark.parametrize("damage", [cut, empty, zero_page, flip(0.0), flip(0.01), flip(0.3), flip(0.7), flip(1.0)],
                         ids=lambda damage: damage.__name__)
def test_damaged_capsule_is_passed_over(own_node, damage):
    spec = make_spec("counter", "counter.py", 8, checkpoint={"interval": "1h"})
    container = own_node.run(spec)
    lines = own_node.client().lines(ipv4(spec), PORT)
    generations = []
    for _ in range(3):
        lines.ask("incr")
        lines.ask("touch 8")
        generations.append(container.checkpoint()["generation"]["generation"])
    pid = container.init_pid()
    after = own_node.events.last_sequence()
    # The daemon has the newest generations in memory: only the next one reads the files.
    own_node.kill_daemon()
    os.kill(pid, signal.SIGKILL)
    newest = capsule_files(own_node, "counter")[-1]
    content = open(newest, "rb").read()
    with open(newest, "wb") as file:
        file.write(damage(content))
    own_node.start_daemon()
    restored = container.wait_for_event("restored", after)
    assert restored["generation"] == generations[1]
    assert own_node.client().lines(ipv4(spec), PORT).ask("get") == "2"
    told = [event for event in container.events(after) if generations[2] in
            " ".join(filter(None, [event["text"], event["reason"], event["generation"]]))]
    assert told, "no event names the damaged generation"
    rows = {row["generation"]: row for row in container.generations()}
    assert generations[2] not in rows or rows[generations[2]]["bad"]


def test_when_all_capsules_are_damaged_it_starts_afresh(own_node):
    spec = make_spec("counter", "counter.py", 4, checkpoint={"interval": "1h"})
    container = own_node.run(spec)
    own_node.client().lines(ipv4(spec), PORT).ask("incr")
    container.checkpoint()
    pid = container.init_pid()
    after = own_node.events.last_sequence()
    own_node.kill_daemon()
    os.kill(pid, signal.SIGKILL)
    for path in capsule_files(own_node, "counter"):
        os.truncate(path, os.path.getsize(path) // 2)
    own_node.start_daemon()
    container.wait_for_event("cold_start", after)
    container.wait_until_protected()
    assert own_node.client().lines(ipv4(spec), PORT).ask("get") == "0"


def test_foreign_files_in_the_store_do_no_harm(own_node):
    spec = make_spec("counter", "counter.py", 4)
    container = own_node.run(spec)
    directory = os.path.dirname(capsule_files(own_node, "counter")[0])
    own_node.kill_daemon()
    for name in ("README", "0.capsule", "x.capsule.tmp", ".hidden"):
        with open(os.path.join(directory, name), "w") as file:
            file.write("not a capsule")
    os.mkdir(os.path.join(directory, "directory.capsule"))
    own_node.start_daemon()
    container.wait_until_protected()
    container.kill_and_wait()
    assert own_node.client().lines(ipv4(spec), PORT).ask("get") == "0"


def test_a_torn_state_file_of_one_container_does_not_stop_the_others(own_node):
    good = own_node.run(make_spec("good", "counter.py", 4))
    own_node.run(make_spec("torn", "counter.py", 4))
    own_node.kill_daemon()
    path = os.path.join(own_node.state, "state", "containers", "torn", "state.json")
    os.truncate(path, 10)
    own_node.start_daemon()
    good.wait_until_protected()
    good.kill_and_wait()
    assert any("torn" in " ".join(filter(None, [event["text"], event["reason"], event["container"]])) and
               event["severity"] != "info" for event in own_node.events.of())
