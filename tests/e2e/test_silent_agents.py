"""An agent that stands still looks after nobody, and nobody in its container would notice. Its host does, and takes the container
back to where the agent worked; a container that is frozen as a whole is not taken for that."""

import os
import signal

import pytest
from component_specs import DB, WEB, Asked, component, http, spec_of
from support import cgroups
from support.node import stop_process, until


def unprobed(name, **sections):
    return spec_of(name, component("db", DB), component("web", WEB, state="stateless"), **sections)


def probed(name, **sections):
    return spec_of(name, component("db", DB, probe=http(DB)), component("web", WEB, state="stateless"), **sections)


@pytest.mark.parametrize("make", [unprobed, probed])
def test_an_agent_that_stands_still_is_noticed_and_the_container_recovered(node, remove_after, make):
    """No checkpoint that was taken meanwhile counts: it would stand still again."""
    it = Asked(node, remove_after, make(f"silent-{make.__name__}"))
    it.wait_for_states(db="running", web="running")
    life = it.ask(DB, "pid"), it.ask(WEB, "pid")
    it.ask(DB, "incr")
    it.container.checkpoint()
    after = node.events.last_sequence()
    captures = it.container.inspect()["captures"]
    stop_process(it.container.init_pid())
    until(lambda: it.container.inspect()["captures"] >= captures + 2, "nothing is captured meanwhile")
    silent = it.container.wait_for_event("agent_silent", after)
    assert silent["severity"] == "warning" and "its agent has not reported for " in silent["text"]
    died = it.container.wait_for_event("died", silent["sequence"])
    assert "was killed by signal 9 (KILL): its agent had not reported for " in died["text"]
    it.container.wait_for_event("restored", died["sequence"])
    assert (it.answers(DB), it.answers(WEB)) == life
    assert it.ask(DB, "get") == "1"
    it.wait_for_states(db="running", web="running")
    assert it.kinds(after).count("restored") == 1, "what it went back to stands still too"
    assert "agent had not reported" in it.container.inspect()["last_restore"]["reason"]
    # The agent works again.
    os.kill(it.pid_of("web"), signal.SIGKILL)
    it.container.wait_for_event("component_restarted", after)
    assert it.answers(WEB) != life[1]


def test_a_container_that_is_frozen_as_a_whole_is_not_silent(node, remove_after):
    """As runc pause does it, for longer than an agent may be silent."""
    it = Asked(node, remove_after, probed("frozen", checkpoint={"interval": "1h"}))
    it.wait_for_states(db="running", web="running")
    life = it.ask(DB, "pid")
    freezer = os.path.join(cgroups.v2_mount(), node.containers_cgroup, "frozen", "cgroup.freeze")

    def freeze(value):
        with open(freezer, "w") as file:
            file.write(value)
    freeze("1")
    try:
        until(lambda: it.row("db")["passed_age_ns"] > 13e9, "no time passes")
    finally:
        freeze("0")
    it.wait_for_states(db="running", web="running")
    until(lambda: it.row("db")["passed_age_ns"] < 5e9, "its agent is not heard again")
    assert it.answers(DB) == life
    assert not {"agent_silent", "died", "component_failing"} & set(it.kinds())


def test_a_restarted_perdured_notices_it_too(own_node):
    it = Asked(own_node, [], unprobed("found"))
    it.wait_for_states(db="running", web="running")
    life = it.ask(DB, "pid")
    it.container.checkpoint()
    init = it.container.init_pid()
    after = own_node.events.last_sequence()
    own_node.kill_daemon()
    stop_process(init)
    own_node.start_daemon()
    silent = it.container.wait_for_event("agent_silent", after)
    died = it.container.wait_for_event("died", silent["sequence"])
    assert "its agent had not reported for" in died["text"]
    it.container.wait_for_event("restored", died["sequence"])
    assert it.answers(DB) == life
    own_node.cli("rm", "--force", "--yes", "found")
