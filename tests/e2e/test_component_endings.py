"""Components that no restart helps: probes that lie, programs that crash at each start, disks that are full. Whatever is tried
is bounded, ends in words that an operator can act on, and goes on when what was wrong is mended."""

import os
import signal
import subprocess
import tempfile

import pytest
from component_specs import DB, WEB, Asked, component, http, spec_of
from support.node import CommandFailed, until

FLAGS, DISK = "/flags", "/disk"
OTHER = 5003  # programs/journal.py


class Host:
    """A directory of the host that the container sees, and that no restore takes back."""

    def __init__(self, node, name, mount):
        self.path = tempfile.mkdtemp(prefix=f"{name}-", dir=node.state)
        self.volume = {"name": name, "mount": mount, "kind": "shared", "host": self.path}

    def raise_flag(self, name):
        open(os.path.join(self.path, name), "w").close()

    def lower_flag(self, name):
        os.unlink(os.path.join(self.path, name))


@pytest.fixture
def flags(node):
    return Host(node, "flags", FLAGS)


def gives_up(it, after, remedy="find out why it keeps failing (its log, the events before), then start it"):
    failed = it.container.wait_for_event("failed", after)
    status = it.container.wait_until(lambda status: status["phase"] == "failed", "is not given up")
    assert failed["severity"] == "error" and failed["text"] == status["phase_reason"]
    assert failed["reason"] == remedy
    assert it.container.pids() == []
    return failed


# ---- Probes that lie ----

@pytest.mark.parametrize("state", ["stateless", "stateful"])
def test_who_is_dead_has_failed_whatever_its_probe_says(node, remove_after, state):
    """The probe passes for whoever asks."""
    it = Asked(node, remove_after, spec_of(f"optimist-{state}", component("db", DB, state=state, probe={"exec": ["/bin/true"], "interval": "100ms"})))
    life = it.answers(DB)
    it.wait_for_states(db="running")
    it.container.checkpoint()
    os.kill(it.pid_of("db"), signal.SIGKILL)
    it.container.wait_for_event("component_restarted" if state == "stateless" else "restored")
    assert (it.answers(DB) == life) == (state == "stateful")
    it.wait_for_states(db="running")
    assert "component_failing" not in it.kinds()


def sick(name, state, flags, **sections):
    """A program that is fine, until its probe thinks otherwise."""
    probe = {"exec": ["/bin/sh", "-c", f"test ! -e {FLAGS}/sick"], "interval": "50ms", "timeout": "2s", "failures": 2, "grace": "0s"}
    return spec_of(name, component("db", DB, state=state, probe=probe, restart={"limit": 2, "delay": "10ms"}), volumes=[flags.volume], **sections)


def test_a_probe_that_is_wrong_about_one_without_state_ends_in_words(node, remove_after, flags):
    """Restarted by its agent, then with its container, each so often; then it stays down until somebody has looked."""
    it = Asked(node, remove_after, sick("pessimist", "stateless", flags, restart={"max-restores": 2}))
    it.answers(DB)
    after = node.events.last_sequence()
    flags.raise_flag("sick")
    failed = gives_up(it, after)
    assert "component 'db', which does not answer: '/bin/sh' exited with code 1" in failed["text"]
    assert "after 2 restarts within 60 s" in failed["text"]
    assert "after 2 restores and cold starts within 1 min 0 s" in failed["text"]
    kinds = it.kinds(after)
    assert kinds.count("component_failed") == kinds.count("died") == 3
    assert kinds.count("restored") + kinds.count("cold_start") == 2
    # A restore may go back into the midst of its restarts.
    assert 2 <= kinds.count("component_restarted") <= 6
    assert it.row("db")["state"] == "failed"
    flags.lower_flag("sick")
    node.cli("start", "pessimist")
    it.answers(DB)
    it.wait_for_states(db="running")


def test_a_probe_that_is_wrong_about_one_with_state_ends_in_words(node, remove_after, flags):
    """Each generation is tried, for it might be the state; then none is left, and it must not begin anew."""
    it = Asked(node, remove_after, sick("pessimist-with-state", "stateful", flags, checkpoint={"interval": "1h"},
                                        restart={"max-restores": 10, "probation": "1min", "cold-start": "never"}))
    it.ask(DB, "incr")
    last = it.container.checkpoint()["generation"]["generation"]
    after = node.events.last_sequence()
    flags.raise_flag("sick")
    failed = gives_up(it, after, "restore a generation by hand if one is worth a try, or start the container without its state")
    assert "component 'db', which does not answer: '/bin/sh' exited with code 1" in failed["text"]
    kinds = it.kinds(after)
    assert kinds.count("restored") == kinds.count("passed_over") >= 2 and "cold_start" not in kinds
    assert kinds.count("restored") + 1 == kinds.count("component_failed")
    flags.lower_flag("sick")
    node.cli("restore", "pessimist-with-state", "--generation", last, "--yes")
    assert it.answers(DB)
    assert it.ask(DB, "get") == "1", "an operator has vouched for it"
    it.wait_for_states(db="running")


# ---- Crashes ----

def test_one_that_crashes_at_each_start_waits_longer_each_time(node, remove_after, flags):
    """It is bounded by its own limit, and what it had been before runs on from the newest checkpoint."""
    it = Asked(node, remove_after, spec_of(
        "crasher", component("db", DB, probe=http(DB)),
        component("web", WEB, "crash-if", f"{FLAGS}/broken", state="stateless", restart={"limit": 3, "delay": "500ms"}),
        volumes=[flags.volume], checkpoint={"interval": "1h"}))
    it.wait_for_states(db="running", web="running")
    it.ask(DB, "incr")
    it.container.checkpoint()
    life = it.ask(WEB, "pid")
    flags.raise_flag("broken")
    os.kill(it.pid_of("web"), signal.SIGKILL)
    until(lambda: it.row("web")["state"] == "back-off", "it does not wait")
    failed = it.container.wait_for_event("component_failed")
    assert "exited with code 3, after 3 restarts within 60 s" in failed["reason"], failed
    restored = it.container.wait_for_event("restored", failed["sequence"])
    restarts = [event for event in it.container.events() if event["kind"] == "component_restarted" and event["sequence"] < failed["sequence"]]
    assert [event["reason"] for event in restarts] == ["was killed by signal 9 (KILL)", *["exited with code 3"] * 2]
    assert "component 'web'" in it.container.inspect()["last_restore"]["reason"]
    assert it.answers(WEB) == life, "it need not start: it goes on from the checkpoint"
    assert (it.answers(DB), it.ask(DB, "get"))[1] == "1"
    it.wait_for_states(db="running", web="running")
    assert it.row("web")["restarts"] == 0 and restored["generation"]


def test_one_that_never_starts_is_told_with_its_remedy(node, remove_after):
    remove_after.append("broken")
    spec = spec_of("broken", component("web", WEB, "crash", state="stateless", restart={"limit": 2, "delay": "10ms"}),
                   restart={"max-restores": 1})
    try:
        node.run(spec)  # a checkpoint may well succeed between two crashes
    except CommandFailed as refused:
        assert "component 'web', which exited with code 3" in " ".join(str(refused).split())
    container = node.container("broken")
    failed = container.wait_for_event("failed")
    assert failed["reason"] == "find out why it keeps failing (its log, the events before), then start it"
    status = container.inspect()
    assert (status["phase"], status["phase_reason"]) == ("failed", failed["text"])
    kinds = [event["kind"] for event in container.events()]
    assert kinds.count("component_failed") == kinds.count("died") == 2
    assert "component 'web', which exited with code 3, after 2 restarts within 60 s" in failed["text"]
    assert [(row["state"], row["trouble"]) for row in status["components"]] == [("failed", "exited with code 3")]


# ---- Full disks ----

MEGABYTES = 4


@pytest.fixture
def disk(node):
    """A file system of a few megabytes, in the node's mount namespace."""
    host = Host(node, "disk", DISK)
    node.execute("mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", host.path)
    yield host
    node.execute("umount", "--lazy", host.path)


def fill(node, disk):
    node.execute("dd", "if=/dev/zero", f"of={disk.path}/other", "bs=4k", check=False)


def empty(node, disk):
    node.execute("rm", f"{disk.path}/other")


def journal(name, disk, *how, **sections):
    keys = sections.pop("component", {})
    return spec_of(name, {"name": "journal", "command": ["/usr/bin/python3", "-u", "/app/journal.py", f"{DISK}/journal", *how], **keys},
                   volumes=[disk.volume], **sections)


def writes(it):
    """Answers when it has written once more."""
    def written():
        try:
            return int(it.ask(OTHER, "written"))
        except OSError:
            return 0
    before = until(written, "it does not answer")
    until(lambda: written() > before, "it writes nothing")
    return before


def test_a_disk_that_others_have_filled_stops_whoever_must_write_until_there_is_room(node, remove_after, disk):
    it = Asked(node, remove_after, journal("full", disk, restart={"max-restores": 2}))
    writes(it)
    it.container.checkpoint()
    reached = int(it.ask(OTHER, "written"))
    after = node.events.last_sequence()
    fill(node, disk)
    failed = gives_up(it, after)
    assert "component 'journal', which exited with code 28" in failed["text"], failed
    assert "after 2 restores and cold starts within 1 min 0 s" in failed["text"]
    assert it.kinds(after).count("restored") == 2
    assert "No space left on device" in it.container.logs()
    empty(node, disk)
    node.cli("start", "full")
    assert writes(it) >= reached - 100, "it has begun anew"
    it.wait_for_states(journal="running")


def test_what_is_not_written_any_more_is_noticed_by_its_file(node, remove_after, disk):
    """The program itself goes on and tries: only its file tells."""
    it = Asked(node, remove_after, journal(
        "stale", disk, "patient",
        component={"state": "stateless", "restart": {"limit": 100, "delay": "10ms", "delay-limit": "100ms"},
                   "probe": {"file": f"{DISK}/journal", "max-age": "500ms", "interval": "100ms", "failures": 2, "grace": "1s"}}))
    it.wait_for_states(journal="running")
    writes(it)
    after = node.events.last_sequence()
    fill(node, disk)
    event = it.container.wait_for_event("component_restarted", after)
    assert f"{DISK}/journal" in event["reason"], event
    it.container.wait_for_event("component_restarted", event["sequence"])
    empty(node, disk)
    writes(it)
    it.wait_for_states(journal="running")
    assert it.container.inspect()["restores"] == 0


def test_what_one_has_filled_itself_is_taken_back_with_it(node, remove_after, disk):
    """A captured volume goes back with the memory, and then there is room again."""
    disk.volume["kind"] = "captured"
    spec = spec_of("hoarder", component("db", DB, probe=http(DB)), volumes=[{**disk.volume, "mount": "/data"}], checkpoint={"interval": "1h"})
    it = Asked(node, remove_after, spec)
    it.wait_for_states(db="running")
    it.ask(DB, "incr")
    it.container.checkpoint()
    free = lambda: int(subprocess.run(node.argv(["stat", "-f", "-c", "%a", disk.path]), capture_output=True, text=True, check=True).stdout)
    before = free()
    assert it.ask(DB, "fill") == "No space left on device"
    assert free() == 0
    it.tell(DB, "exit 28")
    assert "exited with code 28" in it.container.wait_for_event("component_failed")["reason"]
    it.container.wait_for_event("restored")
    assert it.answers(DB) and it.ask(DB, "get") == "1"
    assert free() == before
    it.wait_for_states(db="running")
