"""Hosts lose their power: the owner's, a standby's, several at once. A client outside and the monitor of the LAN tell what became of the
container; its count is that of the newest committed generation, neither older nor newer."""

import os
import time

import pytest
from cluster_tools import (
    etcd_leader,
    init,
    join,
    token,
    wait_for_new_owner,
    wait_for_states,
    wait_until_etcd_survives_one,
    wait_until_settled,
)
from lab_specs import PORT, address
from moving import spec_of
from support.node import until
from taking_over import TAKES, Guarded

from perdure_lab.callers import LastingStream, ReconnectingClient

TOLD = 0.5  # seconds; an owner tells its standbys of a connection within 20 ms (docs/recovery.md), on a machine that is not loaded


def test_the_owner_dies_and_its_standby_goes_on(cluster):
    it = Guarded(cluster, 50)
    first, standbys = it.owner, it.standbys()
    first.kill()
    it.wait_until_taken_over(standbys)
    it.check_committed()
    event = it.took_over()
    assert first.name in event["text"] and event["durations_ns"]["noticed"] <= event["durations_ns"]["swapped"] <= \
        event["durations_ns"]["restored"]
    first.boot()
    it.check_end([first, it.owner])


def test_who_knows_its_address_reaches_it_before_it_has_said_anything(cluster):
    """The new host's bridge has learnt that the container is behind its uplink, and nobody makes the container speak."""
    cluster.nodes[1].run(spec_of("quiet", 63, "counter.py", 1))
    wait_until_settled(cluster, cluster.nodes[1], "quiet")
    client = cluster.client()
    client.connect(address(63), PORT, timeout=5).close()
    cluster.nodes[1].kill()
    wait_for_new_owner(cluster, "quiet", cluster.nodes[1])
    client.connect(address(63), PORT, timeout=3).close()


def test_its_clients_come_again_and_those_of_the_past_are_reset(cluster):
    it = Guarded(cluster, 51)
    caller = ReconnectingClient(it.client, "10.78.0.51", 5000, "incr")
    stream = LastingStream(it.client, "10.78.0.51", 5000)
    caller.wait_for_more(50)
    stream.wait_for_more(50)
    it.container.checkpoint()  # the stream is in what is restored, with an earlier state
    stream.wait_for_more(50)
    first, mark = it.owner, caller.mark()
    first.kill()
    it.wait_until_taken_over()
    caller.wait_for_more(50, TAKES)
    assert caller.setback(mark).lost_ms > 0 and caller.connections >= 2
    until(lambda: stream.broken, "the connection with a later state is not told", TAKES)
    assert stream.broken == "reset" and stream.jumps == []
    for one in (caller, stream):
        one.close()
    it.commit()
    it.check_end([first, it.owner])


def test_clients_that_only_wait_are_told_though_no_generation_knows_them(cluster):
    """They have connected since the newest generation, and say nothing by which they would find out."""
    it = Guarded(cluster, 64)
    clients = {}
    for target in (address(64), f"fd78::{64:x}"):
        for kind in ("answered", "unanswered", "silent"):
            clients[target, kind] = it.client.lines(target, PORT)
        clients[target, "answered"].ask("get")
        unanswered = clients[target, "unanswered"]
        unanswered.connection.sendall(b"the beginning of a line")
        until(unanswered.acknowledged, "the container does not acknowledge", TAKES)
    time.sleep(TOLD)
    first = it.owner
    first.kill()
    it.wait_until_taken_over()
    assert {key: one.reset_within(20) for key, one in clients.items()} == dict.fromkeys(clients, "reset")
    for one in clients.values():
        one.close()
    it.commit()
    it.check_end([first, it.owner])


@pytest.mark.parametrize("leads", ["owner", "other"])
def test_the_leader_of_etcd_dies_together_with_the_owner(cluster, leads):
    """On the owner's host, or that of the third node, whose etcd is killed in the same moment."""
    leader = etcd_leader(cluster, [1, 2, 3])
    it = Guarded(cluster, 52, owner=leader if leads == "owner" else leader % 3 + 1)
    assert etcd_leader(cluster, [1, 2, 3]) == leader, "prepared"
    first = it.owner
    if leads == "other":
        cluster.nodes[leader].kill_etcd()
    first.kill()
    it.wait_until_taken_over()
    it.check_committed()
    it.check_end([first, it.owner])


def test_the_other_of_two_standbys_goes_on_standing_by(cluster):
    """etcd's leader lives: what the other says that it holds arrives while the new owner still restores."""
    leader = etcd_leader(cluster, [1, 2, 3])
    it = Guarded(cluster, 62, owner=leader % 3 + 1, standbys=2)
    assert etcd_leader(cluster, [1, 2, 3]) == leader, "prepared"
    first, standbys = it.owner, it.standbys()
    first.kill()
    it.wait_until_taken_over(standbys)
    it.check_committed()
    (other,) = (node for node in standbys if node is not it.owner)
    it.stays()  # longer than a standby may be silent
    assert it.standbys() == [other] and list(it.record()["standbys"]) == [other.name]
    it.commit()
    first.boot()
    it.check_end([first, it.owner])


def test_a_standby_dies_and_the_owner_is_not_silenced(cluster):
    it = Guarded(cluster, 53)
    stream = LastingStream(it.client, "10.78.0.53", 5000)
    stream.wait_for_more(50)
    (standby,) = it.standbys()
    standby.kill()
    third = next(node for node in it.others() if node is not standby)
    until(lambda: it.standbys() == [third], "the third node does not stand by", TAKES, 0.1)
    stream.wait_for_more(50)
    assert stream.broken is None and stream.jumps == []
    stream.close()
    it.check_latest()
    it.stays(0.5)
    it.check_end([it.owner])


def test_the_last_standby_dies_and_the_owner_goes_on_alone(cluster):
    """There is nobody who could take its place."""
    it = Guarded(cluster, 54)
    (standby,) = it.standbys()
    third = next(node for node in it.others() if node is not standby)
    it.owner.cli("node", "cordon", third.name)
    standby.kill()
    until(lambda: not it.standbys(), "it stands by still", TAKES, 0.1)
    it.check_latest()
    it.stays()
    it.check_latest()
    it.owner.cli("node", "uncordon", third.name)
    it.check_end([it.owner])


@pytest.fixture
def five(make_lab):
    return make_lab(nodes=5, cluster=True, options=["--log-level", "debug"])


def test_a_node_that_stood_by_before_does_not_take_over_in_place_of_who_does_now(five):
    it = Guarded(five, 55)
    first = it.owner
    (former,) = it.standbys()
    former.kill()
    later = until(lambda: [node for node in it.standbys() if node is not former], "no other stands by", TAKES, 0.1)[0]
    it.commit()
    former.boot()
    until(lambda: former.try_cli("inspect", "web").returncode == 0, "it does not come back")
    now = it.standbys()
    assert later in now
    first.kill()
    it.wait_until_taken_over(now)
    it.check_committed()
    it.check_end([first, it.owner])


def test_owners_die_one_after_the_other(five):
    """Each time it is protected again before: state and address go from node to node."""
    it = Guarded(five, 56)
    path = [it.owner]
    for _ in range(2):
        mark = it.monitor.now()
        it.owner.kill()
        it.wait_until_taken_over(since=mark)
        it.check_committed()
        path[-1].boot()
        wait_until_etcd_survives_one([five.nodes[number] for number in (1, 2, 3)])
        path.append(it.owner)
        it.wait_until_protected(it.owner)
        it.commit()
    it.check_end(path)


def test_two_nodes_die_and_the_owner_is_silent_until_there_is_a_quorum_again(cluster):
    """It cannot know whether its standby is dead: nothing speaks for it, and its state stays."""
    it = Guarded(cluster, 57)
    cluster.kill(*it.others())
    it.falls_silent(it.owner)
    silent = it.monitor.now()
    it.others()[0].boot()
    it.monitor.wait_for_speaker(it.owner, since=silent, deadline=TAKES)
    it.check_latest()
    it.check_end([it.owner])


def test_two_nodes_die_and_the_standby_waits_for_a_quorum_and_says_so(cluster):
    it = Guarded(cluster, 58)
    first = it.owner
    (standby,) = it.standbys()
    third = next(node for node in it.others() if node is not standby)
    after = standby.events.last_sequence()
    cluster.kill(first, third)

    def says_so(event):
        return any(word in f"{event['text']} {event.get('reason') or ''}" for word in ("quorum", "etcd"))
    standby.events.wait(says_so, None, after, TAKES)
    it.nobody_speaks()
    third.boot()
    it.wait_until_taken_over([standby])
    it.check_committed()
    it.check_end([first, standby])


@pytest.fixture
def shared(make_lab):
    """Four nodes with one durable directory."""
    lab = make_lab(nodes=4, options=["--log-level", "debug"])
    path = os.path.join(os.path.dirname(lab.nodes[1].state), "shared")
    os.mkdir(path, 0o700)
    init(lab.nodes[1], "--durable-directory", path)
    for number in (2, 3, 4):
        join(lab.nodes[number], lab.nodes[1], token(lab.nodes[1]))
    wait_for_states(lab.nodes[1], {f"node{n}": "ready" for n in range(1, 5)})
    lab.durable = path
    return lab


def test_the_owner_and_the_durable_directory_die_together(shared):
    """The standby's memory has what is needed."""
    it = Guarded(shared, 61)
    first = it.owner
    os.rename(shared.durable, shared.durable + ".gone")
    first.kill()
    it.wait_until_taken_over()
    it.check_committed()
    os.rename(shared.durable + ".gone", shared.durable)
    it.check_end([first, it.owner])
