"""Servers as they are, under the agent: what each mends itself is left to it, and what it cannot mend is noticed, told and
mended, so that a client outside is answered again."""

import os
import signal

import pytest
from component_specs import DB, WEB, Asked, component, http, spec_of
from specs import ipv4
from support.clip import make_clip
from support.node import stop_process, until
from support.rootfs import make_rootfs
from support.rtsp import RtspClient

PROBE = {"interval": "100ms", "timeout": "500ms", "failures": 3}


def exists(pid):
    return os.path.exists(f"/proc/{pid}")


def status_of(pid):
    try:
        return open(f"/proc/{pid}/status").read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until_all_are_reaped(it):
    until(lambda: not any("State:\tZ" in status_of(pid) for pid in it.container.pids()), "somebody who has ended is left")


# ---- nginx ----

def nginx(node, remove_after, name, state):
    """Its master begins its workers, here one."""
    spec = spec_of(name, {"name": "web", "command": ["/usr/sbin/nginx"], "state": state, "probe": {"http": 80, "path": "/worker", **PROBE}})
    spec["root-filesystem"]["directory"] = make_rootfs("nginx")
    it = Asked(node, remove_after, spec)
    it.wait_for_states(web="running")
    return it


def worker_in(it):
    """The number in the container of the worker that answers, when one does."""
    def look():
        try:
            connection = it.client.connect(it.address, 80)
            with connection:
                connection.settimeout(2)
                connection.sendall(b"GET /worker HTTP/1.0\r\n\r\n")
                answer = b""
                while data := connection.recv(4096):
                    answer += data
            return int(answer.split(b"\r\n\r\n")[1])
        except (OSError, IndexError):
            return None
    return until(look, "nginx does not answer")


MASTER, WORKER = "nginx: master", "nginx: worker"


def test_nginx_replaces_a_worker_that_is_killed_and_nobody_else_does(node, remove_after):
    it = nginx(node, remove_after, "nginx-worker", "stateful")
    before, master = worker_in(it), it.process(MASTER)
    os.kill(it.process(WORKER), signal.SIGKILL)
    it.container.wait_for_event("process_killed")
    until(lambda: worker_in(it) != before, "the worker that was killed answers")
    assert it.process(MASTER) == master
    it.wait_for_states(web="running")
    assert (it.row("web")["restarts"], it.container.inspect()["restores"]) == (0, 0)
    assert not {"component_restarted", "component_failed", "died"} & set(it.kinds())


@pytest.mark.parametrize("how", ["master-killed", "worker-stopped"])
@pytest.mark.parametrize("state", ["stateless", "stateful"])
def test_nginx_is_mended_when_it_cannot_do_it_itself(node, remove_after, state, how):
    it = nginx(node, remove_after, f"nginx-{how}-{state}", state)
    it.container.checkpoint()
    worker, before = it.process(WORKER), worker_in(it)
    if how == "master-killed":
        os.kill(it.process(MASTER), signal.SIGKILL)
        said = "was killed by signal 9 (KILL)"
    else:
        stop_process(worker)
        said = "does not answer: http://127.0.0.1:80/worker"
    if state == "stateless":
        event = it.container.wait_for_event("component_restarted")
        assert "component 'web'" in event["text"] and said in event["reason"]
    else:
        assert said in it.container.wait_for_event("component_failed")["reason"]
        it.container.wait_for_event("restored")
        assert f"component 'web', which {said}" in it.container.inspect()["last_restore"]["reason"]
    until(lambda: not exists(worker), "the old worker lives on")
    after = worker_in(it)
    assert (after == before) == (state == "stateful"), "the same worker goes on, or another one has begun"
    it.wait_for_states(web="running")
    assert (it.row("web")["restarts"], it.container.inspect()["restores"]) == ((1, 0) if state == "stateless" else (0, 1))
    wait_until_all_are_reaped(it)


# ---- VLC ----

def options_answered(it):
    def look():
        try:
            lines = it.client.lines(it.address, 8554)
            try:
                lines.connection.settimeout(2)
                return lines.ask("OPTIONS rtsp://server/clip RTSP/1.0\r\nCSeq: 1\r\n\r").startswith("RTSP/1.0 200")
            finally:
                lines.close()
        except OSError:
            return False
    return until(look, "VLC does not answer")


@pytest.mark.parametrize("state, how", [("stateful", signal.SIGKILL), ("stateful", signal.SIGSTOP), ("stateless", signal.SIGSTOP)])
def test_vlc_serves_again(node, remove_after, state, how):
    """With its state a viewer goes on where it was; without, whoever comes is served."""
    command = ["/usr/bin/vlc", "-I", "dummy", "--rtsp-port", "8554", "--vlm-conf", "/etc/vod.conf"]
    spec = spec_of(f"vlc-{state}-{how.name.lower()}",
                   {"name": "video", "command": command, "state": state, "probe": {"rtsp": 8554, **PROBE}},
                   volumes=[{"name": "media", "mount": "/media", "kind": "shared", "host": make_clip(), "access": "read-only"}])
    spec["root-filesystem"]["directory"] = make_rootfs("vlc")
    it = Asked(node, remove_after, spec)
    it.wait_for_states(video="running")
    viewer = RtspClient(it.client, ipv4(spec)).play()
    try:
        viewer.wait_for_packets(20)
        it.container.checkpoint()
        server = it.process("/usr/bin/vlc")
        if how == signal.SIGSTOP:
            stop_process(server)
        else:
            os.kill(server, how)
        said = "was killed by signal 9 (KILL)" if how == signal.SIGKILL else "does not answer: rtsp://127.0.0.1:8554: no answer"
        if state == "stateful":
            assert said in it.container.wait_for_event("component_failed")["reason"]
            it.container.wait_for_event("restored")
            viewer.wait_for_packets(100)
        else:
            assert said in it.container.wait_for_event("component_restarted")["reason"]
        assert options_answered(it)
    finally:
        viewer.close()
    it.wait_for_states(video="running")
    assert it.container.inspect()["restores"] == (1 if state == "stateful" else 0)


# ---- redis ----

def redis(node, remove_after, name, probe, *arguments):
    command = ["/usr/bin/redis-server", "--save", "", "--protected-mode", "no", "--dir", "/data", *arguments]
    it = Asked(node, remove_after, spec_of(name, {"name": "db", "command": command, "probe": {**PROBE, **probe}},
                                          checkpoint={"interval": "1h"}))
    it.wait_for_states(db="running")
    return it


def redis_says(it, *words):
    """The last line of a simple answer, over a new connection, when there is one."""
    def look():
        try:
            lines = it.client.lines(it.address, 6379)
            try:
                lines.connection.settimeout(2)
                answer = lines.ask(" ".join(words)).strip()
                return lines.receive().strip() if answer.startswith("$") else answer
            finally:
                lines.close()
        except OSError:
            return None
    return until(look, "redis does not answer")


# When it panics, redis tests all its memory for its report, while a thread of its allocator goes on: seldom it crashes
# in that, and does not come to abort().
@pytest.mark.parametrize("how, numbers", [("segfault", ["11 (SEGV)"]), ("panic", ["6 (ABRT)", "11 (SEGV)"]),
                                          ("kill", ["9 (KILL)"])], ids=["segfault", "panic", "kill"])
def test_redis_crashes_and_has_its_data_again(node, remove_after, how, numbers):
    probe = {"exec": ["/usr/bin/redis-cli", "ping"], "timeout": "2s"}
    it = redis(node, remove_after, f"redis-{how}", probe, "--enable-debug-command", "yes")
    assert redis_says(it, "SET", "key", "kept") == "+OK"
    it.container.checkpoint()
    assert redis_says(it, "SET", "key", "lost") == "+OK"
    if how == "kill":
        os.kill(it.process("/usr/bin/redis-server"), signal.SIGKILL)
    else:
        lines = it.client.lines(it.address, 6379)
        lines.send(f"DEBUG {how}")
        lines.close()
    said = it.container.wait_for_event("component_failed")["reason"]
    assert said in [f"was killed by signal {number}" for number in numbers]
    died = it.container.wait_for_event("died")
    assert f"component 'db', which {said}" in died["text"]
    restored = it.container.wait_for_event("restored", died["sequence"])
    assert restored["generation"]
    assert redis_says(it, "GET", "key") == "kept"
    it.wait_for_states(db="running")
    assert it.container.inspect()["restores"] == 1


def test_redis_is_asked_over_its_unix_socket(node, remove_after):
    """The socket's file stays when its server is killed, and nobody listens: a server that has lost it is noticed too."""
    it = redis(node, remove_after, "redis-unix", {"unix": "/run/redis.sock"}, "--unixsocket", "/run/redis.sock")
    assert redis_says(it, "SET", "key", "kept") == "+OK"
    it.container.checkpoint()
    socket = f"/proc/{it.process('/usr/bin/redis-server')}/root/run/redis.sock"
    os.unlink(socket)
    assert "/run/redis.sock" in it.container.wait_for_event("component_failed")["reason"]
    it.container.wait_for_event("restored")
    assert redis_says(it, "GET", "key") == "kept"
    it.wait_for_states(db="running")


# ---- A server that forks before it serves ----

@pytest.fixture
def prefork(node, remove_after, request):
    name = request.node.name.removeprefix("test_").replace("_", "-")[:60]  # events of another test are not its own
    it = Asked(node, remove_after, spec_of(name, {
        "name": "web", "command": ["/usr/bin/python3", "-u", "/app/prefork.py", str(DB), "3"], "state": "stateless", "probe": http(DB, failures=3)}))
    it.wait_for_states(web="running")
    return it


def host_pid(it, inside):
    return next(pid for pid in it.container.pids() if f"NSpid:\t{pid}\t{inside}\n" in status_of(pid))


def who(it):
    """Worker and parent that answer."""
    def look():
        try:
            # A worker that is killed with the question unread may leave it without an answer.
            lines = it.client.lines(it.address, DB, 2)
            try:
                return [int(number) for number in lines.ask("who").split()]
            finally:
                lines.close()
        except OSError:
            return None
    return until(look, "no worker answers")


def test_a_worker_is_its_parents_business(prefork):
    it = prefork
    worker, parent = who(it)
    os.kill(host_pid(it, worker), signal.SIGKILL)
    until(lambda: f"worker {worker} has ended" in it.container.logs(), "the parent has not noticed")
    until(lambda: len(it.container.pids()) == 1 + 1 + 3, "there is no other worker")
    assert who(it)[1] == parent
    it.wait_for_states(web="running")
    assert it.row("web")["restarts"] == 0
    assert "process_killed" not in it.kinds(), "the component is stateless: nobody was silenced"
    wait_until_all_are_reaped(it)


def test_a_parents_workers_end_with_it(prefork):
    it = prefork
    _, parent = who(it)
    old = [pid for pid in it.container.pids() if pid != it.container.init_pid()]
    assert len(old) == 4
    os.kill(host_pid(it, parent), signal.SIGKILL)
    event = it.container.wait_for_event("component_restarted")
    assert event["reason"] == "was killed by signal 9 (KILL)"
    assert who(it)[1] != parent
    until(lambda: not any(map(exists, old)), "old workers live on")
    until(lambda: len(it.container.pids()) == 1 + 4, "they are not four again")
    it.wait_for_states(web="running")
    wait_until_all_are_reaped(it)


def test_what_has_made_itself_a_daemon_is_not_ended_but_reaped(prefork):
    it = prefork
    left = host_pid(it, int(it.ask(DB, "daemon")))
    os.kill(host_pid(it, who(it)[1]), signal.SIGKILL)
    it.container.wait_for_event("component_restarted")
    who(it)
    assert exists(left), "it has left the component"
    os.kill(left, signal.SIGKILL)
    until(lambda: not exists(left), "its parent by adoption does not wait for it")


# ---- A server that accepts nobody any more ----

SYN_SENT = "02"  # TCP_SYN_SENT of the kernel's tcp_states.h
DEAF = f"""
import socket, time
server = socket.create_server(("", {WEB}), backlog=1)
client, _ = server.accept()
time.sleep(10 ** 6)
"""


def test_connections_that_are_being_made_are_made_again(node, remove_after):
    """Once the backlog is full, the agent's probe is one; whoever restores finds it answered at once, for the backlog is empty."""
    deaf = {"name": "deaf", "command": ["/usr/bin/python3", "-c", DEAF], "state": "stateless",
            "probe": {"tcp": WEB, "interval": "50ms", "timeout": "400ms", "failures": 100}}
    it = Asked(node, remove_after, spec_of("deaf", component("db", DB, state="stateful"), deaf, checkpoint={"interval": "1h"}))

    def is_connecting():
        with open(f"/proc/{it.container.init_pid()}/net/tcp") as file:
            return any(line.split()[3] == SYN_SENT for line in file)
    for _ in range(6):  # the other end's first number decides whether the kernel takes a window that is none: half of them it does
        until(is_connecting, "no probe hangs", step=0.001)
        it.container.checkpoint()
        it.container.kill_and_wait()
    assert "restore_failed" not in it.kinds()
