"""A container is killed behind perdured's back; afterwards everything that its clients saw committed is there again:
memory, files, address, connections that had not moved on. Those that had are reset at once."""

import os
import signal
import subprocess

import pytest
from specs import PORT, ipv4, ipv6, make_spec
from support.node import stop_process, until

from perdure_lab import cgroups


@pytest.fixture
def counter(node, remove_after):
    spec = make_spec("counter", "counter.py", 8)
    remove_after.append("counter")
    return node.run(spec), spec


def counted(container, lines, times=5):
    """Counts up and waits until a generation taken afterwards is committed; returns the number."""
    number = [lines.ask("incr") for _ in range(times)][-1]
    container.checkpoint()
    return number


@pytest.mark.parametrize("family", [ipv4, ipv6])
def test_memory_files_and_address_come_back(node, counter, family):
    container, spec = counter
    client = node.client()
    before = client.lines(family(spec), PORT)
    life = before.ask("pid")
    number = counted(container, before)
    mac = container.inspect()["mac_address"]
    restored = container.kill_and_wait()
    after = client.lines(family(spec), PORT)
    assert after.ask("pid") == life
    assert after.ask("get") == number
    assert after.ask("file") == number
    assert container.inspect()["mac_address"] == mac
    assert restored["generation"]


def test_memory_alone_is_enough_without_a_network(node, remove_after):
    remove_after.append("alone")
    container = node.run(make_spec("alone", "features.py", network=False))
    container.kill_and_wait()
    assert container.inspect()["phase"] == "running"


@pytest.mark.parametrize("family", [ipv4, ipv6])
def test_connection_that_did_not_move_goes_on(node, counter, family):
    container, spec = counter
    idle = node.client().lines(family(spec), PORT)
    number = counted(container, idle)
    # A generation that knows of the last answer and its acknowledgement.
    container.wait_for_newer_generation(container.checkpoint()["generation"]["generation"])
    container.kill_and_wait()
    assert idle.ask("get") == number
    assert int(idle.ask("incr")) == int(number) + 1


@pytest.mark.parametrize("family", [ipv4, ipv6])
def test_connection_that_moved_on_is_reset_at_once(node, remove_after, family):
    remove_after.append("streamer")
    spec = make_spec("streamer", "counter.py", checkpoint={"interval": "1h"})
    container = node.run(spec)
    client = node.client()
    moving = client.lines(family(spec), PORT)
    moving.send("stream 1000000")
    moving.receive()
    container.checkpoint()
    for _ in range(200):  # of which the generation knows nothing
        moving.receive()
    container.kill_and_wait()
    # Not after a retransmission timeout: the peer is told while the container is being restored.
    assert moving.reset_within(5) == "reset"
    assert client.lines(family(spec), PORT).ask("get") == "0"


def connect_after_the_generation(node, name, family):
    """The container and a connection that its only generation does not know."""
    spec = make_spec(name, "counter.py", checkpoint={"interval": "1h"})
    container = node.run(spec)
    client = node.client()
    container.checkpoint()
    waiting = client.lines(family(spec), PORT)
    assert waiting.ask("get") == "0"
    return container, waiting


@pytest.mark.parametrize("family", [ipv4, ipv6])
def test_connection_younger_than_the_generation_is_reset_at_once(node, remove_after, family):
    remove_after.append("younger")
    container, waiting = connect_after_the_generation(node, "younger", family)
    container.kill_and_wait()
    # It waits for an answer, sends nothing, and would hear nothing until its own keep-alive.
    assert waiting.reset_within(5) == "reset"


@pytest.mark.parametrize("family", [ipv4, ipv6])
def test_younger_connection_with_an_unread_request_is_reset_at_once(node, remove_after, family):
    remove_after.append("unread")
    container, waiting = connect_after_the_generation(node, "unread", family)
    for pid in container.pids():
        stop_process(pid)
    waiting.send("get")
    until(waiting.acknowledged, "the request does not arrive")
    container.kill_and_wait()
    # The kernel closed the dead server's socket with an RST that the gate kept back, and has forgotten it.
    assert waiting.reset_within(5) == "reset"


@pytest.mark.parametrize("family", [ipv4, ipv6])
def test_peers_that_are_cut_off_during_the_restore_are_reset_when_they_are_back(node, remove_after, family):
    remove_after.append("cut")
    spec = make_spec("cut", "counter.py", checkpoint={"interval": "1h"})
    container = node.run(spec)
    client = node.client()
    moved, idle = client.lines(family(spec), PORT), client.lines(family(spec), PORT)
    assert moved.ask("get") == idle.ask("get") == "0"
    container.checkpoint()
    younger = client.lines(family(spec), PORT)
    assert moved.ask("get") == younger.ask("get") == "0"
    node.cut(client)
    container.kill_and_wait()
    node.heal(client)
    # They send nothing; the idle one goes on.
    assert moved.reset_within(10) == "reset"
    assert younger.reset_within(10) == "reset"
    assert idle.ask("get") == "0"


def test_the_server_also_sees_its_end_of_a_moved_connection_reset(node, remove_after):
    remove_after.append("streamer")
    spec = make_spec("streamer", "counter.py", checkpoint={"interval": "1h"})
    container = node.run(spec)
    moving = node.client().lines(ipv4(spec), PORT)
    moving.send("stream 1000000")
    moving.receive()
    container.checkpoint()
    for _ in range(50):
        moving.receive()
    container.kill_and_wait()
    assert moving.reset_within(5) == "reset"
    # One of the server's threads meets the error while it sends, or the loop while it receives.
    until(lambda: "Connection reset" in container.logs(), "the server was not told of a reset")


def test_times_of_a_recovery_are_told(node, counter):
    container, _ = counter
    container.checkpoint()
    after, _ = container.kill()
    restored = container.wait_for_event("restored", after)
    times = restored["durations_ns"]
    assert 0 < times["noticed"] < times["restored"] < 5e9
    record = container.inspect()["last_restore"]
    assert record["generation"] == restored["generation"]
    assert record["restored_ns"] == times["restored"]
    assert record["lost_ns"] > 0


def test_killing_every_process_is_one_failure(node, remove_after):
    remove_after.append("tree")
    container = node.run(make_spec("tree", "tree.py", 6))
    failures = container.inspect()["failures"]
    after = node.events.last_sequence()
    for pid in container.pids():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    container.wait_for_event("restored", after)
    assert container.inspect()["failures"] == failures + 1


@pytest.fixture
def crowd():
    """Processes that leave others no time on one processor."""
    burners = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(4)]
    try:
        for burner in burners:
            os.sched_setaffinity(burner.pid, {max(os.sched_getaffinity(0))})
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def starve(pid, whole):
    """... the first thread of the process, or all."""
    for thread in os.listdir(f"/proc/{pid}/task") if whole else [pid]:
        os.sched_setaffinity(int(thread), {max(os.sched_getaffinity(0))})
        os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))


@pytest.mark.parametrize("whole", [False, True], ids=["init", "container"])
def test_an_init_that_gets_no_time_to_end_says_nothing_meanwhile(node, remove_after, crowd, whole):
    """Somebody else is the first to end, another thread of it or a process that is killed with it: init is not taken for alive."""
    remove_after.append("crowded")
    spec = make_spec("crowded", "counter.py", checkpoint={"interval": "1h"})
    spec["command"] = ["/bin/sh", "-c", "sleep 1000 & exec " + " ".join(spec["command"])]
    container = node.run(spec)
    client = node.client()
    for _ in range(5):
        moving = client.lines(ipv4(spec), PORT)
        moving.send("stream 1000000")
        moving.receive()
        container.checkpoint()
        for _ in range(100):
            moving.receive()
        starve(container.init_pid(), whole)
        after = node.events.last_sequence()
        if whole:
            with open(os.path.join(cgroups.v2_mount(), node.containers_cgroup, "crowded", "cgroup.kill"), "w") as file:
                file.write("1")
        else:
            container.kill()
        container.wait_for_event("restored", after)
        assert moving.reset_within(20) == "reset"
    assert not [event for event in container.events() if "lives on" in event["text"]]


def test_a_crash_of_the_program_is_a_failure(node, counter):
    container, spec = counter
    container.checkpoint()
    after = node.events.last_sequence()
    node.client().lines(ipv4(spec), PORT).send("crash")
    assert f"{signal.SIGSEGV:d}" in container.wait_for_event("died", after)["text"]
    container.wait_for_event("restored", after)
    assert node.client().lines(ipv4(spec), PORT).ask("get") == "0"


def test_exit_with_an_error_is_a_failure(node, counter):
    container, spec = counter
    client = node.client()
    number = counted(container, client.lines(ipv4(spec), PORT))
    after = node.events.last_sequence()
    client.lines(ipv4(spec), PORT).send("exit 3")
    assert "3" in container.wait_for_event("died", after)["text"]
    container.wait_for_event("restored", after)
    assert client.lines(ipv4(spec), PORT).ask("get") == number


def test_exit_without_error_is_the_end(node, counter):
    container, spec = counter
    after = node.events.last_sequence()
    node.client().lines(ipv4(spec), PORT).send("exit 0")
    container.wait_for_event("exited", after)
    status = container.wait_until(lambda s: s["phase"] in ("exited", "stopped"), "has not ended")
    assert status["exit_status"] == 0


def test_protected_again_after_a_restore(node, counter):
    container, spec = counter
    client = node.client()
    for _ in range(3):
        number = counted(container, client.lines(ipv4(spec), PORT))
        container.kill_and_wait()
        assert client.lines(ipv4(spec), PORT).ask("get") == number
        status = container.wait_until_protected()
        container.wait_for_newer_generation(status["newest_committed"]["generation"])


def test_two_containers_fail_and_come_back_side_by_side(node, remove_after):
    specs = [make_spec(f"twin{i}", "counter.py", 4) for i in range(2)]
    remove_after.extend(spec["name"] for spec in specs)
    containers = [node.run(spec) for spec in specs]
    client = node.client()
    numbers = []
    for index, (container, spec) in enumerate(zip(containers, specs)):
        numbers.append(counted(container, client.lines(ipv4(spec), PORT), 3 + index))
    after = node.events.last_sequence()
    for container in containers:
        container.kill()
    for container in containers:
        container.wait_for_event("restored", after)
    for spec, number in zip(specs, numbers):
        assert client.lines(ipv4(spec), PORT).ask("get") == number
