"""The network fails while all hosts live. Whoever is cut off does not know whether it is the others that are dead; the monitor of the
LAN, which sees what each node sends whether or not it gets anywhere, shows that no two speak."""

import json

import pytest
from moving import copies
from support.node import until
from taking_over import TAKES, Guarded

from perdure_lab.callers import LastingStream


def test_the_owner_is_cut_from_its_standby_alone(cluster):
    """Both reach etcd: one of the two has it."""
    it = Guarded(cluster, 80)
    first = it.owner
    (standby,) = it.standbys()
    cluster.cut(first, standby)
    third = next(node for node in it.others() if node is not standby)
    until(lambda: third.try_cli("list", timeout=20).returncode == 0, "the third does not answer")

    def is_protected_again():
        status = it.status(third)
        return status["phase"] == "running" and any(
            row["state"] == "ready" and row["node"] == third.name for row in status["standbys"])
    until(is_protected_again, "the third node does not stand by", TAKES, 0.1)
    taken = it.wait_until_taken_over_or_not()
    assert it.owner in (first, standby)
    it.check_committed() if taken else it.check_latest()
    it.check_end([first, standby] if taken else [first])


@pytest.mark.parametrize("only", ["perdured", "heartbeats"])
def test_what_the_owner_and_its_standby_say_to_each_other_is_lost(cluster, only):
    """etcd is reached by both as before; with heartbeats alone capsules pass as well."""
    it = Guarded(cluster, 81)
    first = it.owner
    (standby,) = it.standbys()
    cluster.cut(first, standby, only=only)
    it.wait_until_decided(standby)
    taken = it.wait_until_taken_over_or_not()
    it.stays()
    it.check_committed() if taken else it.check_latest()
    cluster.heal()
    it.check_end([first, standby] if taken else [first])


def test_the_owner_is_cut_from_etcd_alone(cluster):
    """Its standby answers its heartbeats: nothing happens."""
    it = Guarded(cluster, 82)
    stream = LastingStream(it.client, "10.78.0.82", 5000)
    cluster.cut(it.owner, only="etcd")
    begin = it.monitor.now()
    until(lambda: it.monitor.now() - begin > 3e9 and it.monitor.path(begin) == [it.owner.name], "it is not the owner that speaks")
    stream.wait_for_more(50)
    assert stream.broken is None and it.monitor.path() == [it.owner.name]
    stream.close()
    it.check_latest()
    cluster.heal()
    it.check_end([it.owner])


def test_the_owner_is_cut_from_all_nodes(cluster):
    """Clients reach both sides: the case in which two would speak."""
    it = Guarded(cluster, 83)
    first, standbys = it.owner, it.standbys()
    stream = LastingStream(it.client, "10.78.0.83", 5000)
    stream.wait_for_more(50)
    cluster.cut(first, "nodes")
    it.wait_until_taken_over(standbys)
    it.check_committed()
    it.stays()
    assert first.number in copies(cluster, "web"), "its copy is there still"
    cluster.heal()
    until(lambda: first.number not in copies(cluster, "web"), "the former copy stays", TAKES)
    stream.close()
    it.check_end([first, it.owner])


def test_the_owner_is_cut_from_everything(cluster):
    it = Guarded(cluster, 84)
    first = it.owner
    cluster.cut(first)
    it.wait_until_taken_over()
    it.check_committed()
    it.stays()
    cluster.heal()
    it.check_end([first, it.owner])


def test_the_owner_is_cut_from_clients_alone(cluster):
    """Nodes hear it: it is no failure of a node, and it is not told to watch anything."""
    it = Guarded(cluster, 85)
    cluster.cut(it.owner, "clients")
    it.stays()
    cluster.heal()
    it.check_latest()
    it.check_end([it.owner])


def reaches(guarded, node, address):
    """Whether the address answers, as the owner says; None: it does not say."""
    return {row["address"]: row["answers"] for row in guarded.status(node)["reachability"]}.get(address)


def test_the_owner_is_cut_from_clients_that_it_is_told_to_watch(cluster):
    """It is moved, with all its state, to the standby, which hears them; and it does not go back at once when that is cut as well."""
    watched = cluster.client()
    it = Guarded(cluster, 89, reachability=watched.addresses)
    first = it.owner
    (standby,) = it.standbys()
    for address in watched.addresses:
        until(lambda: reaches(it, first, address), f"{address} does not answer", TAKES, 0.1)
    stream = LastingStream(it.client, "10.78.0.89", 5000)
    stream.wait_for_more(50)
    cluster.cut(first, "clients")
    it.wait_until_taken_over([standby])
    stream.wait_for_more(50)
    assert stream.broken is None
    stream.close()
    it.check_latest()
    assert "handed_over" in [event["kind"] for event in first.events.of(it.name)]
    cluster.heal()
    it.wait_until_protected(it.owner)
    until(lambda: reaches(it, it.owner, watched.addresses[0]), "the new owner does not reach them", TAKES, 0.1)
    cluster.cut(it.owner, "clients")
    until(lambda: it.status()["reachability_reason"], "it does not say why it stays", TAKES, 0.1)
    it.stays()
    it.check_end([first, standby])


def test_no_standby_reaches_the_clients_either(cluster):
    """Nothing is gained by a move: it stays."""
    it = Guarded(cluster, 90, reachability=["10.78.0.249"])
    it.owner.events.wait("unreachable_everywhere", it.name, deadline=TAKES)
    assert reaches(it, it.owner, "10.78.0.249") is False
    it.stays()
    it.check_end([it.owner])


@pytest.mark.parametrize("way", ["mute", "deaf"])
def test_the_owner_is_cut_from_all_nodes_one_way(cluster, way):
    """Mute: nothing that it sends gets to them. Deaf: it hears nothing of them, and so no grant."""
    it = Guarded(cluster, 86)
    first = it.owner
    if way == "mute":
        cluster.cut(first, "nodes", one_way=True)
    else:
        cluster.cut("nodes", first, one_way=True)
    it.wait_until_taken_over()
    it.check_committed()
    it.stays()
    cluster.heal()
    it.check_end([first, it.owner])


@pytest.mark.parametrize("way", ["mute", "deaf"])
def test_the_owner_is_cut_from_its_standby_one_way(cluster, way):
    it = Guarded(cluster, 87)
    first = it.owner
    (standby,) = it.standbys()
    cluster.cut(*((first, standby) if way == "mute" else (standby, first)), one_way=True)
    it.wait_until_decided(standby)
    taken = it.wait_until_taken_over_or_not()
    it.stays()
    it.check_committed() if taken else it.check_latest()
    cluster.heal()
    it.check_end([first, standby] if taken else [first])


def all_are_ready(node):
    said = node.try_cli("cluster", "status", "--json")  # it is refused until etcd is heard again
    return said.returncode == 0 and all(row["state"] == "ready" for row in json.loads(said.stdout)["nodes"])


def test_a_cut_comes_and_goes(cluster):
    """At once, or when the owner has fallen silent, by turns: whatever comes of it, the state is that of one life, and no two speak."""
    it = Guarded(cluster, 88)
    for number in range(4):
        before, mark = it.owner, it.monitor.now()
        cluster.cut(before, "nodes")
        if number % 2:
            it.falls_silent(before)
        cluster.heal()
        until(lambda: all_are_ready(it.a_node_that_answers()), "not all are ready", TAKES, 0.1)
        taken = it.wait_until_taken_over_or_not()
        it.check_committed() if taken else it.check_latest()
        it.wait_until_protected(it.owner)
        it.monitor.assert_single_speaker([before, it.owner] if taken else [before], since=mark)
        it.commit()
    it.check_end(since=it.monitor.now())
