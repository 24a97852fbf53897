"""perdured or etcd fail while the hosts live: killed, stopped and continued, restarted in turn. The former owner's copy is alive all the
time; that it says nothing more is what the monitor of the LAN has to show."""

import signal
import time

import pytest
from cluster_tools import etcd_leader, wait_for_members
from moving import copies
from support.node import until
from taking_over import TAKES, Guarded

from perdure_lab.callers import LastingStream

STOPPED = 10.0  # seconds: long after everybody has taken it for dead


def test_perdured_of_the_owner_is_killed(cluster):
    """Its container runs on, behind a gate that nobody renews."""
    it = Guarded(cluster, 70)
    first, standbys = it.owner, it.standbys()
    first.kill_daemon()
    it.wait_until_taken_over(standbys)
    assert copies(cluster, "web").get(first.number) is not None, "the former copy is there still"
    it.check_committed()
    first.start_daemon()
    until(lambda: first.number not in copies(cluster, "web"), "the former copy stays", TAKES)
    it.check_end([first, it.owner])


def test_perdured_of_the_owner_stands_still_and_goes_on(cluster):
    it = Guarded(cluster, 71)
    first = it.owner
    begin = time.monotonic()
    first.pause_daemon()
    it.wait_until_taken_over()
    it.check_committed()
    speaking = it.monitor.now()
    until(lambda: time.monotonic() - begin > STOPPED, "", 2 * STOPPED, 0.2)
    first.resume_daemon()
    until(lambda: first.number not in copies(cluster, "web"), "the former copy stays", TAKES)
    assert it.monitor.path(speaking) == [it.owner.name]
    it.check_end([first, it.owner])


def test_the_whole_host_of_the_owner_stands_still_and_goes_on(cluster):
    it = Guarded(cluster, 72)
    first = it.owner
    begin = time.monotonic()
    first.pause()
    it.wait_until_taken_over()
    it.check_committed()
    until(lambda: time.monotonic() - begin > STOPPED, "", 2 * STOPPED, 0.2)
    first.resume()
    until(lambda: first.number not in copies(cluster, "web"), "the former copy stays", TAKES)
    it.check_end([first, it.owner])


def test_perdured_of_the_standby_is_killed_and_the_owner_is_not_silenced(cluster):
    it = Guarded(cluster, 73)
    stream = LastingStream(it.client, "10.78.0.73", 5000)
    stream.wait_for_more(50)
    (standby,) = it.standbys()
    standby.kill_daemon()
    until(lambda: it.standbys() and standby not in it.standbys(), "no other stands by", TAKES, 0.1)
    stream.wait_for_more(50)
    assert stream.broken is None and stream.jumps == []
    stream.close()
    it.check_latest()
    it.check_end([it.owner])


@pytest.mark.parametrize("whose", ["owner", "leader"])
@pytest.mark.parametrize("how", ["killed", "still"])
def test_an_etcd_fails_and_nobody_takes_over(cluster, whose, how):
    it = Guarded(cluster, 74)
    node = it.owner if whose == "owner" else cluster.nodes[etcd_leader(cluster, [1, 2, 3])]
    if how == "killed":
        node.kill_etcd()
    else:
        node.pause_etcd()
    it.stays()
    it.check_latest()
    if how == "still":
        node.resume_etcd()
    wait_for_members(it.owner, ["node1", "node2", "node3"])
    it.check_end([it.owner])


def test_all_of_etcd_stands_still_and_the_owner_goes_on(cluster):
    """Only changes wait."""
    it = Guarded(cluster, 75)
    for node in cluster.nodes.values():
        node.pause_etcd()
    begin = it.monitor.now()
    until(lambda: it.monitor.now() - begin > 3e9 and it.monitor.path(begin) == [it.owner.name], "it is not the owner that speaks")
    it.check_latest()
    for node in cluster.nodes.values():
        node.resume_etcd()
    it.check_end([it.owner])


def test_perdured_is_restarted_on_every_node_in_turn(cluster):
    """As an upgrade does it: nobody takes over, and connections stay."""
    it = Guarded(cluster, 76)
    stream = LastingStream(it.client, "10.78.0.76", 5000)
    for node in cluster.nodes.values():
        stream.wait_for_more(50)
        assert node.kill_daemon(signal.SIGTERM) == 0
        node.start_daemon()
        it.wait_until_protected(it.owner)
        assert it.monitor.path() == ["node1"] and it.status()["term"] == it.term
        it.check_latest()
    stream.wait_for_more(50)
    assert stream.broken is None and stream.jumps == []
    stream.close()
    it.check_end([it.owner])


def test_perdured_is_killed_and_started_at_once_on_every_node_in_turn(cluster):
    """Whether the owner is in time or its standby, one speaks at a time and one of two states is there."""
    it = Guarded(cluster, 78)
    for node in cluster.nodes.values():
        before, mark = it.owner, it.monitor.now()
        node.kill_daemon()
        node.start_daemon()
        it.wait_until_protected(node)  # as the one that was started again knows: it is decided
        taken = it.wait_until_taken_over_or_not()
        it.check_committed() if taken else it.check_latest()
        it.wait_until_protected(it.owner)
        it.monitor.assert_single_speaker([before, it.owner] if taken else [before], since=mark)
        it.commit()
    it.check_end(since=it.monitor.now())


def test_perdured_stays_away_longer_than_it_asked_for(cluster):
    """After an orderly end the standby waits for a long grant, and then takes over."""
    it = Guarded(cluster, 77)
    first = it.owner
    assert first.kill_daemon(signal.SIGTERM) == 0
    it.wait_until_taken_over()
    it.check_committed()
    first.start_daemon()
    it.check_end([first, it.owner])
