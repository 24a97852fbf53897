"""A container of components under its agent, with real CRIU: whoever fails is mended where that loses nothing, and takes the
container back with it where it has state; checkpoints at any moment of the agent's life, which no probe ever takes for a failure."""

import os
import signal
import threading
import time

import pytest
from component_specs import DB, WEB, Asked, component, http, spec_of
from specs import ipv4
from support.node import CommandFailed, stop_process, until

def two(name, db={}, web={}, **sections):
    return spec_of(name, component("db", DB, probe=http(DB), **db),
                   component("web", WEB, state="stateless", **{"depends-on": [{"component": "db"}], **web}), **sections)


def test_a_stateless_component_is_restarted_beside_the_others(node, remove_after):
    it = Asked(node, remove_after, two("restart"))
    it.wait_for_states(db="running", web="running")
    db, web, init = it.ask(DB, "pid"), it.ask(WEB, "pid"), it.container.init_pid()
    it.ask(DB, "incr")
    os.kill(it.pid_of("web"), signal.SIGKILL)
    event = it.container.wait_for_event("component_restarted")
    assert "'web'" in event["text"] and event["reason"] == "was killed by signal 9 (KILL)"
    assert it.answers(WEB) != web
    assert (it.ask(DB, "pid"), it.ask(DB, "get"), it.container.init_pid()) == (db, "1", init), "nobody else noticed"
    assert [row["restarts"] for row in it.container.inspect()["components"]] == [0, 1]
    assert it.container.inspect()["restores"] == 0
    assert "process_killed" not in [event["kind"] for event in it.container.events()]


def gate_of(it):
    return it.container.inspect()["gate"]


class Stream:
    """A connection that asks without a pause; the longest wait for an answer, in seconds."""

    def __init__(self, it, port):
        self.lines = it.client.lines(it.address, port)
        self.longest, self.answers, self.trouble = 0, 0, None
        self.stopping = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            while not self.stopping:
                begin = time.monotonic()
                self.lines.ask("get")
                self.longest, self.answers = max(self.longest, time.monotonic() - begin), self.answers + 1
        except OSError as error:
            self.trouble = error

    def stop(self):
        self.stopping = True
        self.thread.join()
        self.lines.close()


def skip_without_exit_hook(node):
    gate = next(line for line in node.ask("doctor")["lines"] if line["check"] == "gate")
    if gate["state"] != "ok":
        pytest.skip(f"no exit hook here: {gate['found']}")


def test_the_death_of_a_stateless_component_silences_nobody(node, remove_after):
    skip_without_exit_hook(node)
    it = Asked(node, remove_after, two("unsilenced", web={"restart": {"limit": 100, "delay": "1ms", "delay-limit": "1ms"}},
                                    checkpoint={"interval": "1h"}))  # captures silence it, too
    it.wait_for_states(db="running", web="running")
    stream = Stream(it, DB)
    try:
        for _ in range(20):
            life = it.answers(WEB)
            client = it.client.lines(it.address, WEB)
            assert client.ask("pid") == life
            os.kill(it.pid_of("web"), signal.SIGKILL)
            with pytest.raises(OSError):
                client.receive()  # it ends
            client.close()
            until(lambda: it.answers(WEB) not in (None, life), "is not started again")
    finally:
        stream.stop()
    assert stream.trouble is None and stream.answers > 20
    gate = gate_of(it)
    assert (gate["closures_by_death"], gate["traffic"]["dropped_held"]) == (0, 0), f"waited {stream.longest:.3f} s at most"
    assert it.row("web")["restarts"] == 20

    life = it.ask(DB, "pid")
    os.kill(it.pid_of("db"), signal.SIGKILL)
    it.container.wait_for_event("restored")
    assert gate_of(it)["closures_by_death"] == 1
    it.wait_for_states(db="running", web="running")
    assert it.answers(DB) == life
    it.answers(WEB)
    # In the life that goes on its processes are known again.
    restarts = it.row("web")["restarts"]
    os.kill(it.pid_of("web"), signal.SIGKILL)
    until(lambda: it.row("web")["restarts"] == restarts + 1, "is not started again")
    assert gate_of(it)["closures_by_death"] == 1


def test_a_probe_that_is_killed_for_its_time_silences_nobody(node, remove_after):
    skip_without_exit_hook(node)
    probe = {"exec": ["/bin/sleep", "60"], "interval": "50ms", "timeout": "100ms", "failures": 100}
    it = Asked(node, remove_after, spec_of("slow-probe", component("db", DB, probe=http(DB)),
                                           component("web", WEB, state="stateless", probe=probe)))
    # Until the agent has said which processes are stateful every death closes the gate, also that of its first probe.
    until(lambda: it.row("web")["failures"] >= 3, "its probes do not fail")
    before = gate_of(it)["closures_by_death"]
    assert before <= 3
    until(lambda: it.row("web")["failures"] >= 13, "its probes do not go on failing")
    assert gate_of(it)["closures_by_death"] == before


@pytest.mark.parametrize("how", ["kill", "exit", "abort", "halt", "spin"])
def test_a_stateful_component_takes_the_container_back(node, remove_after, how):
    it = Asked(node, remove_after, two(how))
    it.wait_for_states(db="running", web="running")
    lives = it.ask(DB, "pid"), it.ask(WEB, "pid")
    it.ask(DB, "incr")
    it.container.checkpoint()
    if how == "kill":
        os.kill(it.pid_of("db"), signal.SIGKILL)
    else:
        it.tell(DB, {"exit": "exit 7"}.get(how, how))
    restored = it.container.wait_for_event("restored")
    assert "component 'db'" in it.container.inspect()["last_restore"]["reason"]
    assert {"kill": "signal 9", "exit": "code 7", "abort": "signal 6"}.get(how, "does not answer: http://127.0.0.1:5001/") in \
        it.container.wait_for_event("component_failed")["reason"], restored
    until(lambda: (it.answers(DB), it.answers(WEB)) == lives, "the same lives go on")
    assert it.ask(DB, "get") == "1"
    it.wait_for_states(db="running", web="running")


@pytest.mark.parametrize("state", ["stateless", "stateful"])
def test_who_is_killed_for_want_of_memory_is_said_to_be(node, remove_after, state):
    # Nothing but this test takes a checkpoint: of one while it eats, it would die again.
    spec = spec_of(f"hungry-{state}", component("eater", DB, state=state), resources={"memory": "64MiB"}, checkpoint={"interval": "1h"})
    it = Asked(node, remove_after, spec)
    it.answers(DB)
    it.container.checkpoint()
    it.tell(DB, "eat 200")
    # Where the memory is not free again before the agent needs some, the kernel takes the agent too: the container goes back.
    wanted = ("component_restarted", "died") if state == "stateless" else ("died",)
    event = until(lambda: next((e for e in it.container.events() if e["kind"] in wanted), None), "nobody is missing")
    assert "was killed by signal 9 (KILL): the kernel had no memory left for it" in f"{event['text']} {event['reason']}"
    it.answers(DB)


def test_redis_and_a_web_server_with_probes_of_their_own(node, remove_after):
    spec = spec_of("store",
                   {"name": "redis", "command": ["/usr/bin/redis-server", "--save", "", "--protected-mode", "no"],
                    "probe": {"exec": ["/usr/bin/redis-cli", "ping"], "interval": "200ms", "timeout": "1s", "failures": 2}},
                   {"name": "web", "command": ["/bin/sh", "-c", "echo up > /data/index.html; exec httpd -f -p 8080 -h /data"], "state": "stateless",
                    "probe": {"http": 8080, "path": "/index.html", "interval": "100ms"}, "depends-on": [{"component": "redis"}]})
    it = Asked(node, remove_after, spec)
    it.wait_for_states(redis="running", web="running")
    lines = it.client.lines(ipv4(spec), 6379)
    assert lines.ask("SET key kept").strip() == "+OK"
    lines.close()
    it.container.checkpoint()
    process = lambda name: next(pid for pid in it.container.pids() if open(f"/proc/{pid}/comm").read().strip() == name)
    os.kill(process("httpd"), signal.SIGKILL)
    it.container.wait_for_event("component_restarted")
    it.wait_for_states(redis="running", web="running")
    stop_process(process("redis-server"))
    assert "redis-cli" in it.container.wait_for_event("component_failed")["reason"]
    it.wait_for_states(redis="running", web="running")
    lines = it.client.lines(ipv4(spec), 6379)
    lines.send("GET key")
    assert [lines.receive().strip(), lines.receive().strip()] == ["$4", "kept"]
    lines.close()
    assert it.container.inspect()["restores"] == 1


def test_one_that_crashes_at_each_start_is_given_up_with_its_container(node, remove_after):
    spec = spec_of("crashing", component("bad", WEB, "crash", state="stateless", restart={"limit": 2, "delay": "10ms"}),
                   restart={"max-restores": 1, "probation": "0s"})
    remove_after.append("crashing")
    try:
        node.run(spec)  # a checkpoint may well succeed between two crashes
    except CommandFailed as refused:
        assert "component 'bad'" in str(refused)
    container = node.container("crashing")
    container.wait_until(lambda status: status["phase"] == "failed", "is not given up")
    status = container.inspect()
    assert "component 'bad', which exited with code 3, after 2 restarts within 60 s" in status["phase_reason"]
    assert [row["state"] for row in status["components"]] == ["failed"]


def test_one_waits_for_the_end_of_another(node, remove_after):
    spec = spec_of("order", {"name": "migrate", "command": ["/bin/sh", "-c", "echo migrated > /data/done"], "state": "stateless"},
                   component("db", DB, "slow", 1, probe=http(DB), **{"depends-on": [{"component": "migrate", "until": "finished"}]}),
                   component("web", WEB, state="stateless", **{"depends-on": [{"component": "db"}]}))
    it = Asked(node, remove_after, spec)
    it.wait_for_states(migrate="finished", db="running", web="running")
    log = it.container.logs()
    assert log.index("db | component is ready") < log.index("web | component at port"), log
    node.cli("stop", "order")
    status = it.container.inspect()
    assert (status["phase"], status["exit_status"]) == ("stopped", 0)


def test_a_component_has_its_own_environment_directory_and_limits(node, remove_after):
    show = "echo in $(pwd) with $A $B and $(ulimit -n) files; sleep 3600"
    spec = spec_of("own", {"name": "one", "command": ["/bin/sh", "-c", show], "working-directory": "/data/one",
                           "environment": {"B": "own"}, "limits": {"open-files": 77}},
                   {"name": "two", "command": ["/bin/sh", "-c", show]},
                   environment={"A": "of-all", "B": "of-all"}, **{"working-directory": "/tmp"})
    it = Asked(node, remove_after, spec)
    until(lambda: "one | in /data/one with of-all own and 77 files" in it.container.logs(), "one says something else")
    until(lambda: "two | in /tmp with of-all of-all and " in it.container.logs(), "two says something else")


def test_what_its_processes_leave_behind_is_reaped(node, remove_after):
    it = Asked(node, remove_after, two("orphans"))
    child = it.ask(WEB, "child")
    os.kill(it.pid_of("web"), signal.SIGKILL)
    it.container.wait_for_event("component_restarted")
    it.answers(WEB)
    left = lambda: [pid for pid in it.container.pids() if f"NSpid:\t{pid}\t{child}\n" in open(f"/proc/{pid}/status").read()]
    until(lambda: not left(), "its child lives on")
    assert not any("State:\tZ" in open(f"/proc/{pid}/status").read() for pid in it.container.pids())


def test_checkpoints_and_restores_make_nobody_look_dead(node, remove_after):
    """Probes that end in half the time that a component has, beside checkpoints without a pause, and restores in their midst."""
    hasty = {"interval": "20ms", "timeout": "300ms", "failures": 1}
    spec = spec_of("hasty", component("db", DB, probe=http(DB, **hasty)),
                   component("web", WEB, state="stateless", probe={"tcp": WEB, **hasty}),
                   component("other", WEB + 1, state="stateless", probe={"exec": ["/bin/sh", "-c", "exit 0"], **hasty, "timeout": "2s"}),
                   checkpoint={"interval": "50ms", "cpu-budget": "100%"})
    it = Asked(node, remove_after, spec)
    it.wait_for_states(db="running", web="running", other="running")
    life = it.ask(DB, "pid")
    for _ in range(3):
        captures = it.container.inspect()["captures"]
        until(lambda: it.container.inspect()["captures"] > captures + 8, "no checkpoints")
        it.container.kill_and_wait()
        assert it.answers(DB) == life
    until(lambda: it.container.inspect()["captures"] > 20, "no checkpoints")
    kinds = [event["kind"] for event in it.container.events()]
    assert not {"component_failing", "component_failed", "component_restarted"} & set(kinds), it.container.events()
    assert kinds.count("restored") == 3


def test_a_checkpoint_before_it_was_healthy_restores_and_goes_on(node, remove_after):
    """The first one, which counts only when what it holds has proved good: one component starts, the other waits for it."""
    it = Asked(node, remove_after, spec_of("early", component("first", DB, "slow", 2, probe=http(DB)),
                                           component("last", WEB, state="stateless", **{"depends-on": [{"component": "first"}]}),
                                           checkpoint={"interval": "1h"}))
    it.wait_for_states(first="running", last="running")
    (row,) = it.container.generations()
    for _ in range(2):
        before = it.container.logs()
        node.cli("restore", "early", "--generation", row["generation"], "--yes")
        it.wait_for_states(first="running", last="running")
        until(lambda: "first | component is ready" in it.container.logs()[len(before):], "the first one was there already")
        until(lambda: "last | component at port" in it.container.logs()[len(before):], "the last one was there already")


@pytest.mark.parametrize("state", ["back-off", "stopping", "finished"])
def test_a_checkpoint_in_each_state_restores_and_goes_on(node, remove_after, state):
    never = {"checkpoint": {"interval": "1h"}}
    last = component("last", WEB, state="stateless", **{"depends-on": [{"component": "first"}]})
    if state == "back-off":
        first = component("first", DB, state="stateless", restart={"delay": "3s"})
        spec, wanted, end = spec_of("states", first, last, **never), ("back-off", "running"), ("running", "running")
    elif state == "stopping":
        deaf = {"command": ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], "stop": {"deadline": "4s"}, "state": "stateless"}
        first = component("first", DB, state="stateless")
        last = {"name": "last", **deaf, "depends-on": [{"component": "first", "on-restart": "restart"}]}
        spec, wanted, end = spec_of("states", first, last, **never), ("running", "stopping"), ("running", "running")
    else:
        first = {"name": "first", "command": ["/bin/true"], "state": "stateless"}
        spec, wanted, end = spec_of("states", first, last, **never), ("finished", "running"), ("finished", "running")
    it = Asked(node, remove_after, spec)
    if state == "back-off":
        for _ in range(2):
            it.answers(DB)
            it.tell(DB, "exit 1")
            until(lambda: it.states()["first"] in ("back-off", "running"), "is not restarted")
    if state == "stopping":
        it.answers(DB)
        it.tell(DB, "exit 1")
    until(lambda: (it.states()["first"], it.states()["last"]) == wanted, f"not {wanted}: {it.states()}", step=0.01)
    generation = it.container.checkpoint()["generation"]["generation"]
    until(lambda: (it.states()["first"], it.states()["last"]) == end, f"not {end}")
    for _ in range(2):
        node.cli("restore", "states", "--generation", generation, "--yes")
        until(lambda: (it.states()["first"], it.states()["last"]) == end, f"does not go on to {end}")


def test_a_restarted_perdured_hears_the_agent_again(own_node):
    removed = []
    it = Asked(own_node, removed, two("heard"))
    it.wait_for_states(db="running", web="running")
    own_node.kill_daemon()
    own_node.start_daemon()
    it.wait_for_states(db="running", web="running")
    os.kill(it.pid_of("web"), signal.SIGKILL)
    it.container.wait_for_event("component_restarted")
    assert gate_of(it)["closures_by_death"] == 0
    own_node.cli("rm", "--force", "--yes", "heard")


def test_what_could_not_run_is_refused_before_the_start(node, remove_after):
    for name, change, why in (("no-program", {"command": ["/bin/nothing"]}, "component 'db': command '/bin/nothing' does not exist"),
                              ("no-user", {"user": "ghost"}, "component 'db'"),
                              ("many-files", {"limits": {"open-files": 100000}}, "limits.open-files is 100000")):
        remove_after.append(name)
        spec = two(name)
        spec["components"][0].update(change)
        with pytest.raises(CommandFailed) as failed:
            node.run(spec)
        assert why in " ".join(str(failed.value).split()), failed.value
