"""perdured itself dies: containers run on, connections too, and the next perdured protects them again. What died
meanwhile, or half-way through a restore, is recovered."""

import os
import signal
import socket
import struct
import threading

import pytest
import faults
from specs import PORT, ipv4, make_spec
from support.node import until


@pytest.fixture
def counter(own_node):
    spec = make_spec("counter", "counter.py", 8)
    return own_node.run(spec), spec


def check_taken_over(node, container, spec, init_pid, number):
    """The same processes, thawed, with their connections and protected by the new daemon."""
    status = container.wait_until_protected()
    assert status["init_pid"] == init_pid
    assert not faults.is_frozen(container) or until(lambda: not faults.is_frozen(container), "stays frozen")
    assert node.client().lines(ipv4(spec), PORT).ask("get") == number
    newest = status["newest_committed"]["generation"]
    newer = container.wait_for_newer_generation(newest)["newest_committed"]["generation"]
    assert int(newer.rsplit(".", 1)[1]) > int(newest.rsplit(".", 1)[1])


def test_killed_while_idle(own_node):
    spec = make_spec("counter", "counter.py", 8, checkpoint={"interval": "5s"})
    container = own_node.run(spec)
    lines = own_node.client().lines(ipv4(spec), PORT)
    number = lines.ask("incr")
    pid = container.init_pid()
    before = own_node.events.last_sequence()
    incarnation = own_node.ask("version")["daemon"]["incarnation"]
    container.wait_for_newer_generation(container.inspect()["newest_committed"]["generation"])
    own_node.kill_daemon()  # between two captures
    assert lines.ask("get") == number, "containers do not need the daemon"
    own_node.start_daemon()
    check_taken_over(own_node, container, spec, pid, number)
    assert lines.ask("get") == number, "nor do their connections"
    assert own_node.ask("version")["daemon"]["incarnation"] != incarnation
    own_node.events.wait(lambda event: True, "counter", before)  # numbers go on where they were
    container.kill_and_wait()
    assert own_node.client().lines(ipv4(spec), PORT).ask("get") == number


def test_ended_by_sigterm(own_node, counter):
    container, spec = counter
    number = own_node.client().lines(ipv4(spec), PORT).ask("incr")
    pid = container.init_pid()
    assert own_node.kill_daemon(signal.SIGTERM) == 0
    own_node.start_daemon()
    check_taken_over(own_node, container, spec, pid, number)


@pytest.mark.parametrize("moment", [faults.is_frozen, faults.criu_is_dumping, faults.capsule_is_being_written])
def test_killed_during_a_capture(own_node, moment):
    spec = make_spec("counter", "counter.py", 64)
    container = own_node.run(spec)
    lines = own_node.client().lines(ipv4(spec), PORT)
    for _ in range(3):
        number = lines.ask("incr")
        container.checkpoint()
        lines.ask("touch 64")
        at = faults.At(lambda: moment(container), lambda: os.kill(own_node.daemon_pid, signal.SIGKILL))
        own_node.wait_for_daemon_end()
        assert at.stop()
        own_node.start_daemon()
        container.wait_until_protected()
        until(lambda: not faults.is_frozen(container), "stays frozen")
        # The processes live on, or they did not survive the end of CRIU and came back; no answer is lost.
        assert own_node.client().lines(ipv4(spec), PORT).ask("get") == number
        container.checkpoint()
        container.kill_and_wait()
        lines = own_node.client().lines(ipv4(spec), PORT)
        assert lines.ask("get") == number


def test_container_that_died_meanwhile_is_recovered(own_node, counter):
    container, spec = counter
    lines = own_node.client().lines(ipv4(spec), PORT)
    number = lines.ask("incr")
    container.checkpoint()
    pid = container.init_pid()
    after = own_node.events.last_sequence()
    own_node.kill_daemon()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not container.pids(), "processes are left")
    own_node.start_daemon()
    container.wait_for_event("restored", after)
    assert own_node.client().lines(ipv4(spec), PORT).ask("get") == number
    container.wait_until_protected()


def test_killed_during_a_restore(own_node):
    spec = make_spec("counter", "counter.py", 64)
    container = own_node.run(spec)
    number = own_node.client().lines(ipv4(spec), PORT).ask("incr")
    container.checkpoint()
    for _ in range(3):
        container.wait_until_protected()
        container.checkpoint()
        at = faults.At(lambda: faults.criu_is_restoring(container),
                       lambda: os.kill(own_node.daemon_pid, signal.SIGKILL))
        container.kill()
        own_node.wait_for_daemon_end()
        assert at.stop()
        own_node.start_daemon()
        container.wait_until_protected()
        lines = own_node.client().lines(ipv4(spec), PORT)
        assert lines.ask("get") == number
        assert lines.ask("file") == number


def test_killed_during_a_first_start(own_node):
    spec = make_spec("counter", "counter.py", 8)
    path = own_node.write_spec(spec)
    run = threading.Thread(target=lambda: own_node.try_cli("run", "--yes", path))
    at = faults.At(lambda: faults.processes_called("runc", own_node.daemon_cgroup()),
                   lambda: os.kill(own_node.daemon_pid, signal.SIGKILL))
    run.start()
    own_node.wait_for_daemon_end()
    assert at.stop()
    run.join()
    own_node.start_daemon()
    container = own_node.container("counter")
    container.wait_until_protected()
    assert own_node.client().lines(ipv4(spec), PORT).ask("get") == "0"
    container.remove()
    assert own_node.names() == []


def test_stopped_containers_stay_stopped(own_node, counter):
    container, spec = counter
    own_node.ask("stop", "counter")
    own_node.kill_daemon()
    own_node.start_daemon()
    assert container.inspect()["phase"] == "stopped"
    assert container.pids() == []
    own_node.ask("restore", "--yes", "counter")
    assert own_node.client().lines(ipv4(spec), PORT).ask("get") == "0"


def test_a_daemon_that_dies_again_and_again(own_node, counter):
    container, spec = counter
    number = own_node.client().lines(ipv4(spec), PORT).ask("incr")
    pid = container.init_pid()
    for _ in range(8):
        own_node.kill_daemon()
        own_node.start_daemon()
    check_taken_over(own_node, container, spec, pid, number)


def test_a_second_daemon_is_refused(own_node, counter):
    container, _ = counter
    first = own_node.daemon_pid
    second = own_node.execute(own_node.programs.perdured, "--run-dir", "/run/perdure", "--state-dir",
                              os.path.join(own_node.state, "state"), "--libexec-dir", own_node.libexec,
                              "--cgroup", own_node.name, "--group", "root", check=False)
    assert second.returncode != 0
    assert second.stderr.strip()
    assert own_node.ask("version")["daemon"]["pid"] == first
    assert container.inspect()["phase"] == "running"


def test_systemd_is_told_that_it_is_ready_and_alive(own_node):
    assert "READY=1" in own_node.notified
    until(lambda: "WATCHDOG=1" in own_node.notified, "the watchdog is not fed")


def garbage():
    yield b""
    yield b"\0" * 3
    yield b"GET / HTTP/1.0\r\n\r\n"
    yield os.urandom(65536)
    yield struct.pack("<I", 0xffffffff) + b"x"
    yield struct.pack("<I", 100) + b"half"
    yield struct.pack("<I", 0)
    yield struct.pack("<I", 64) + os.urandom(64)
    yield struct.pack("<I", 5) + b"\x08\x01\xff\xff\xff"
    yield (struct.pack("<I", 64) + os.urandom(64)) * 1000


@pytest.mark.parametrize("data", garbage(), ids=lambda data: f"{len(data)}-bytes")
def test_garbage_on_the_control_socket(node, data):
    pid = node.daemon_pid
    path = f"/proc/{node.keeper_pid}/root/run/perdure/perdured.sock"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(30)
            while connection.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert node.ask("version")["daemon"]["pid"] == pid
    assert node.daemon_runs()


def test_many_silent_connections_do_not_shut_others_out(node):
    path = f"/proc/{node.keeper_pid}/root/run/perdure/perdured.sock"
    silent = []
    try:
        for _ in range(200):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(5)
            try:
                connection.connect(path)
            except OSError:
                break  # a bound of its own
            silent.append(connection)
    finally:
        for connection in silent:
            connection.close()
    until(lambda: node.try_cli("version").returncode == 0, "nobody is let in any more")
