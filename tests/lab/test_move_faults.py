"""What fails during a move: CRIU, hosts, links, etcd and perdured, each at a moment that is held. Whatever becomes of the move, the
container runs in one place with its state and its connections, and no two nodes have spoken for it by turns."""

import os
import signal
import subprocess

import pytest
from cluster_tools import wait_for_members
from lab_specs import PORT, address
from moving import (Held, Move, Speakers, Streams, copies, flag, flagged, inspect, is_stood_by, processes, run, spec_of, stood_by_on,
                    wait_until_only_on, wait_until_stood_by)
from support.node import until
from taking_over import TAKES, Guarded


class Moving:
    """A container on node 1 with two streams, stood by on node 2, to which it is moved."""

    def __init__(self, lab, number):
        self.lab, self.source, self.target = lab, lab.nodes[1], lab.nodes[2]
        client = lab.client()
        # Whatever placement thinks: node 2 is to be the target in any case.
        self.container = run(lab, 1, spec_of("pump", number, "pump.py", 2))
        self.speakers = Speakers(lab, client, address(number))
        self.streams = Streams(client, address(number))
        self.streams.wait_for_progress()
        self.held = None

    def begin_and_hold_capture(self):
        """The target is prepared, and the last capture has begun."""
        self.held = Held(self.source)
        seen = len(self.source.daemon_log())
        self.begin()
        until(lambda: "-> begin-handover" in self.source.daemon_log()[seen:], "the source does not capture it")

    def begin_and_hold_shipping(self):
        """It is frozen, and the target does not take the last generation."""
        self.begin_and_hold_capture()
        self.stopped = self.target.daemon_pid
        os.kill(self.stopped, signal.SIGSTOP)
        self.held.release()
        until(lambda: copies(self.lab, "pump").get(1), "the source does not freeze it")

    def let_take(self):
        os.kill(self.stopped, signal.SIGCONT)

    def begin_and_hold_restore(self):
        """The record names the target, which does not run it yet."""
        flag(self.target, "hold-criu")
        self.begin()
        until(lambda: flagged(self.target, "criu-waits"), "the target does not restore")

    def begin(self):
        self.move = Move(self.source, "pump", 2)

    def let_restore(self):
        flag(self.target, "hold-criu", False)

    def check_that_it_runs_on(self, number, failed=None):
        """... alone, with its connections; `failed`: what the command says about why it was not moved."""
        result = self.move.end()
        if failed is not None:
            assert result.returncode == 6, result
            assert "was not moved" in result.stderr and failed in result.stderr, result.stderr
        self.streams.finish()
        wait_until_only_on(self.lab, "pump", number)
        assert self.speakers.close() == ([1] if number == 1 else [1, number])

    def check_that_it_can_still_be_moved(self, number, target):
        wait_until_stood_by(self.lab, "pump", node=self.lab.nodes[number])
        self.lab.nodes[number].cli("move", "pump", f"node{target}")
        wait_until_only_on(self.lab, "pump", target)

    def end(self):
        for node in self.lab.nodes.values():
            if node.describe()["state"] == "up":
                node.cli("rm", "--force", "--yes", "pump")
                return


def wait_until_etcd_survives_one(cluster):
    wait_for_members(cluster.nodes[1], [node.name for node in cluster.nodes.values()])


def test_whoever_asks_for_a_move_that_is_under_way_waits_for_its_end(cluster):
    it = Moving(cluster, 69)
    it.begin_and_hold_restore()
    second = it.source.popen_cli(["move", "pump", "node2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "moving to node 'node2'" in second.stderr.readline(), "it waits"
    refused = it.source.try_cli("move", "pump", "node3")
    assert refused.returncode == 6 and "it is being moved to 'node2'" in refused.stderr, refused
    it.let_restore()
    out, error = second.communicate(timeout=TAKES)
    assert second.returncode == 0, out + error
    it.check_that_it_runs_on(2)
    it.end()


def test_criu_fails_on_the_target(cluster):
    it = Moving(cluster, 50)
    flag(it.target, "fail-criu")
    it.begin()
    it.check_that_it_runs_on(1, failed="'node2' could not take it")
    flag(it.target, "fail-criu", False)
    it.check_that_it_can_still_be_moved(1, 2)
    it.end()


def test_the_target_dies_before_the_record_names_it(cluster):
    it = Moving(cluster, 51)
    wait_until_etcd_survives_one(cluster)
    it.begin_and_hold_shipping()
    it.target.kill()
    it.check_that_it_runs_on(1, failed="'node2' cannot be reached")
    assert inspect(cluster, "pump", it.source)["node"] == "node1"
    it.target.boot()
    wait_until_stood_by(cluster, "pump", node=it.source)
    it.end()


def test_the_target_dies_after_the_record_names_it(cluster):
    it = Moving(cluster, 52)
    wait_until_etcd_survives_one(cluster)
    it.begin_and_hold_restore()
    it.target.kill()
    it.check_that_it_runs_on(1, failed="'node2' cannot be reached")
    it.target.boot()
    wait_until_stood_by(cluster, "pump", node=it.source)
    wait_until_only_on(cluster, "pump", 1)
    it.end()


def test_the_target_dies_right_after_it_has_said_that_it_runs(cluster):
    """What it has done since is nowhere else: its source takes over from what it has handed over. What is frozen there never speaks again."""
    it = Guarded(cluster, 61)
    source, (target,) = it.owner, it.standbys()
    handed = it.state()
    assert handed != it.committed
    seen, after = len(source.daemon_log()), source.events.last_sequence()
    move = Move(source, it.name, target.number)
    until(lambda: "ownership: -> handed-over" in source.daemon_log()[seen:], "it is not moved", step=0.001)
    os.kill(target.daemon_pid, signal.SIGSTOP)
    assert "ownership: target-committed" not in source.daemon_log()[seen:], "its first generation came too soon for this test"
    it.term, it.owner = it.record()["term"], target
    target.kill()
    move.end()
    it.wait_until_taken_over([source], it.monitor.now())
    assert source.events.wait("taken_over", it.name, after, TAKES)["text"].startswith(f"taken over from '{target.name}'")
    it.committed = handed
    it.check_committed()
    spoke = target.name in it.monitor.path()
    it.check_end([source, target, source] if spoke else [source])


def test_the_link_is_cut_before_the_last_generation_is_shipped(cluster):
    it = Moving(cluster, 53)
    wait_until_etcd_survives_one(cluster)
    it.begin_and_hold_shipping()
    cluster.cut(1, 2)
    it.let_take()
    if "'node2' found this node silent" in it.move.end().stderr:  # it goes on, and hears nobody, before it is dropped
        it.streams.abandon()
        wait_until_only_on(cluster, "pump", 2)
        assert it.speakers.close() == [1, 2]
        cluster.heal()
    else:
        it.check_that_it_runs_on(1, failed="'node2' cannot be reached")
        cluster.heal()
        it.check_that_it_can_still_be_moved(1, 3)
    it.end()


def test_the_link_is_cut_after_the_record_names_the_target_which_is_late(cluster):
    it = Moving(cluster, 54)
    wait_until_etcd_survives_one(cluster)
    it.begin_and_hold_restore()
    cluster.cut(1, 2)
    it.check_that_it_runs_on(1, failed="'node2' cannot be reached")
    it.let_restore()  # its copy has lost, and never spoken
    until(lambda: 2 not in copies(cluster, "pump"), "its copy does not end")
    wait_until_only_on(cluster, "pump", 1)
    cluster.heal()
    wait_until_stood_by(cluster, "pump", node=it.source)
    it.end()


def test_the_link_is_cut_after_the_record_names_the_target_which_is_quick(cluster):
    it = Moving(cluster, 55)
    wait_until_etcd_survives_one(cluster)
    it.begin_and_hold_restore()
    cluster.cut(1, 2)
    it.let_restore()
    it.move.end()
    cluster.heal()
    # Who swaps first has it.
    until(lambda: list(copies(cluster, "pump").values()).count(False) == 1 and len(copies(cluster, "pump")) == 1, "not in one place")
    it.check_that_it_runs_on(*copies(cluster, "pump"))
    it.end()


def test_etcd_is_away_when_the_owner_is_to_change(cluster):
    it = Moving(cluster, 56)
    wait_until_etcd_survives_one(cluster)
    it.begin_and_hold_capture()
    members = [pid for node in cluster.nodes.values() for pid in processes(node, "etcd")]
    assert len(members) == 3
    for pid in members:
        os.kill(pid, signal.SIGSTOP)
    seen = len(it.source.daemon_log())
    it.held.release()
    until(lambda: "ownership: -> swap" in it.source.daemon_log()[seen:], "it does not ask etcd")
    until(lambda: "unknown #" in it.source.daemon_log()[seen:] or "timer fired" in it.source.daemon_log()[seen:], "etcd answers")
    for pid in members:
        os.kill(pid, signal.SIGCONT)
    it.check_that_it_runs_on(2)
    assert it.move.result.returncode == 0
    it.end()


@pytest.mark.parametrize("moment", ["shipping", "restore"])
def test_perdured_of_the_source_dies_while_it_is_frozen(cluster, moment):
    it = Moving(cluster, 57)
    it.begin_and_hold_shipping() if moment == "shipping" else it.begin_and_hold_restore()
    after = it.source.events.last_sequence()
    it.source.kill_daemon()
    if moment == "restore":
        it.let_restore()
    it.source.start_daemon()
    if moment == "shipping":
        # A target that goes on earlier finds the source silent, and takes over what it holds.
        it.source.events.wait("standby_dropped", "pump", after, TAKES)
        it.let_take()
    it.check_that_it_runs_on(1 if moment == "shipping" else 2)
    it.end()


def test_perdured_of_the_target_dies_while_it_restores(cluster):
    it = Moving(cluster, 58)
    it.begin_and_hold_restore()
    it.target.kill_daemon()
    it.let_restore()
    it.target.start_daemon()
    it.check_that_it_runs_on(1, failed="")
    wait_until_stood_by(cluster, "pump", node=it.source)
    it.end()


def shipping(lab, number):
    """A container on node 1 with a generation on its way to a standby that does not take it. Returns the standby."""
    wait_until_etcd_survives_one(lab)
    run(lab, 1, spec_of("web", number))
    lines = lab.client().lines(address(number), PORT)
    lines.ask("incr")
    standby = lab.nodes[stood_by_on(lab, "web")[0]]
    os.kill(standby.daemon_pid, signal.SIGSTOP)
    asked = lab.nodes[1].popen_cli(["checkpoint", "web"], stdout=-3, stderr=-3)
    until(lambda: inspect(lab, "web", lab.nodes[1])["captures"] >= 2, "no capture")
    return standby, lines, asked


def test_the_standby_dies_while_it_is_shipped_to(cluster):
    standby, lines, asked = shipping(cluster, 59)
    standby.kill()
    other = ({"node2", "node3"} - {standby.name}).pop()
    wait_until_stood_by(cluster, "web", [other], cluster.nodes[1])
    assert asked.wait(60) == 0, "it is committed by the other one"
    assert lines.ask("incr") == "2"
    assert [f"node{number}" for number in stood_by_on(cluster, "web")] == [other]
    cluster.nodes[1].cli("rm", "--force", "--yes", "web")
    standby.boot()


def test_the_owner_dies_while_it_ships(cluster):
    standby, lines, asked = shipping(cluster, 60)
    cluster.nodes[1].kill()
    asked.wait(60)
    os.kill(standby.daemon_pid, signal.SIGCONT)
    cluster.nodes[1].boot()
    # The standby takes over when it goes on, unless the owner is back before.
    until(lambda: cluster.nodes[1].try_cli("inspect", "web").returncode == 0, "it does not come back")
    until(lambda: is_stood_by(inspect(cluster, "web", cluster.nodes[1])), "it does not come back", step=0.1)
    assert cluster.client().lines(address(60), PORT).ask("get") in ("0", "1"), "what was committed"
    wait_until_only_on(cluster, "web", int(inspect(cluster, "web", cluster.nodes[1])["node"].removeprefix("node")))
    cluster.nodes[1].cli("rm", "--force", "--yes", "web")
