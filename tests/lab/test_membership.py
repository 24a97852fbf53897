"""Nodes become one cluster and stay one: who may join and who is refused, clocks that are wrong, nodes that are removed, and
what becomes of containers when perdured, a whole host or etcd is away. With perdured, etcd, runc and CRIU as they are; each lab
is shared by tests that put right what they break."""

import os
import shutil
import signal
import subprocess

import pytest
from cluster_tools import (LONG, change_timing, etcd_leader, etcd_pid, in_no_cluster, init, join, leave, members, record, refusal, rows,
                           standby_of, states, status, token, wait_for_members, wait_for_standby, wait_for_states)
from conftest import BUILD, _live, traces
from lab_specs import PORT, address, lab_spec

from perdure_lab import Lab
from perdure_lab.host import until

DAY = 86400
MANAGERS = ("node1", "node2", "node3")


def a_lab(**options):
    with Lab(build=BUILD, **options) as one:
        _live.append(one)
        yield one
        _live.remove(one)
    assert traces(one.name) == []


@pytest.fixture(scope="module")
def managers():
    """Nodes 1 to 3 are a cluster, node 4 is in none."""
    for lab in a_lab(nodes=4):
        init(lab.nodes[1])
        its_token = token(lab.nodes[1], "--uses", "2")
        for number in (2, 3):
            join(lab.nodes[number], lab.nodes[1], its_token)
        wait_for_states(lab.nodes[1], dict.fromkeys(MANAGERS, "ready"))
        wait_for_members(lab.nodes[1], MANAGERS)
        yield lab


@pytest.fixture(scope="module")
def three():
    """A cluster in which containers run."""
    for lab in a_lab(nodes=3, cluster=True):
        wait_for_members(lab.nodes[1], MANAGERS)
        yield lab


def event_with(node, kind, *words, after=0):
    """The first event of the kind whose text or reason has all the words."""
    def fits(event):
        said = f"{event['text']} {event['reason'] or ''}"
        return event["kind"] == kind and all(word in said for word in words)
    return node.events.wait(fits, after=after)


def reason_of(event):
    return f"{event['text']}: {event['reason']}"


# ---- Who is a member ----

def test_three_nodes_become_one_and_etcd_ends_with_three_members(managers):
    for node in (managers.nodes[number] for number in (1, 2, 3)):
        wait_for_states(node, dict.fromkeys(MANAGERS, "ready"))
    wait_for_members(managers.nodes[1], MANAGERS)
    told = [event["text"] for event in managers.nodes[1].events.of() if event["kind"] == "etcd"]
    assert [text for text in told if "promote" in text] == ["etcd: promote node2", "etcd: promote node3"], told
    until(lambda: status(managers.nodes[3])["etcd_members"] == 3, "status does not show three members")
    shown = status(managers.nodes[3])
    assert shown["has_quorum"] and shown["warnings"] == []
    listed = managers.nodes[2].ask("node", "list")["nodes"]
    assert [row["name"] for row in listed] == list(MANAGERS)
    assert all(row["manager"] and row["etcd_member"] for row in listed)
    assert [row["self"] for row in listed] == [False, True, False]


def test_labels_and_cordons_are_seen_by_all(managers):
    one, two = managers.nodes[1], managers.nodes[2]
    one.ask("node", "label", "node3", "rack=r1", "server=s9")
    one.ask("node", "label", "node3", "server-")
    until(lambda: rows(two)["node3"]["labels"] == {"rack": "r1"}, "node2 does not see the labels")
    two.ask("node", "cordon", "node3")
    wait_for_states(one, {"node1": "ready", "node2": "ready", "node3": "cordoned"})
    refused = refusal(one.ask, "node", "cordon", "node7")
    assert "node7" in refused
    two.ask("node", "uncordon", "node3")
    two.ask("node", "label", "node3", "rack-")
    wait_for_states(one, dict.fromkeys(MANAGERS, "ready"))
    assert rows(one)["node3"]["labels"] == {}


def changed(text, at):
    """Another hexadecimal digit in one place."""
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]


def expired_token(lab):
    made = lab.nodes[1].ask("cluster", "token", "--valid-for", "1ms")
    return made["token"]


def used_token(lab):
    """Node 4 has been a member with it already."""
    its_token = token(lab.nodes[1])
    join(lab.nodes[4], lab.nodes[1], its_token)
    leave(lab.nodes[4])
    wait_for_states(lab.nodes[1], dict.fromkeys(MANAGERS, "ready"))
    return its_token


@pytest.mark.parametrize("make_token, reason", [
    (lambda lab: changed(token(lab.nodes[1]), 20), "the token's secret is wrong"),
    (lambda lab: changed(token(lab.nodes[1]), 2), "this cluster knows no such token"),
    (expired_token, "the token expired at"),
    (used_token, "this cluster knows no such token"),
], ids=["wrong secret", "unknown", "expired", "used"])
def test_a_join_is_refused_with_its_reason_on_both_sides_and_leaves_nothing(managers, make_token, reason):
    one, four = managers.nodes[1], managers.nodes[4]
    its_token = make_token(managers)
    after = one.events.last_sequence()
    assert reason in refusal(join, four, one, its_token)
    event_with(one, "join_refused", "node4", reason, after=after)
    assert in_no_cluster(four)
    assert not os.path.exists(f"{four.state}/cluster/node.pem")
    assert not os.path.exists(f"{four.state}/cluster/cluster.json")
    assert states(one) == dict.fromkeys(MANAGERS, "ready")


def test_a_token_of_another_cluster_is_not_said_to_this_one(managers):
    """The fingerprint in it is of another authority: the joining node ends the handshake."""
    one, four = managers.nodes[1], managers.nodes[4]
    its_token = token(one)
    refused = refusal(join, four, one, changed(its_token, len(its_token) - 3))
    assert "fingerprint" in refused, refused
    assert in_no_cluster(four)
    join(four, one, its_token)  # which was not used
    leave(four)
    wait_for_states(one, dict.fromkeys(MANAGERS, "ready"))


def test_a_witness_runs_no_containers(managers):
    one, four = managers.nodes[1], managers.nodes[4]
    join(four, one, token(one), "--witness")
    wait_for_states(one, {**dict.fromkeys(MANAGERS, "ready"), "node4": "witness"})
    row = rows(one)["node4"]
    assert row["manager"] and not row["etcd_member"], "three of four managers hold members"
    refused = refusal(four.run, lab_spec("here", 60))
    assert "node4" in refused and "witness" in refused
    container = one.run(lab_spec("web", 61))
    assert wait_for_standby(container) in ("node2", "node3")
    assert "witness" in refusal(one.ask, "move", "web", "node4")
    assert container.inspect()["node"] == "node1"
    container.remove()
    leave(four)
    wait_for_states(one, dict.fromkeys(MANAGERS, "ready"))


# ---- Who is refused ----

def test_a_certificate_of_another_authority_is_refused(managers):
    """Node 4 makes a cluster of its own and calls itself node 3; its certificate is shown to node 1 twice: by a client, and by
    the perdured of node 3."""
    one, three, four = (managers.nodes[number] for number in (1, 3, 4))
    four.ask("cluster", "init", "--node-name", "node3", "--listen", four.address, "--yes")
    foreign = os.path.join(four.state, "cluster")
    after = one.events.last_sequence()
    subprocess.run(four.argv(["openssl", "s_client", "-connect", f"{one.address}:7400", "-cert", f"{foreign}/node.pem", "-key",
                              f"{foreign}/node.pem", "-quiet", "-no_ign_eof"]),
                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    event_with(one, "peer_refused", four.address, after=after)

    own = os.path.join(three.state, "cluster")
    three.kill_daemon()
    shutil.copytree(own, f"{three.state}/kept")
    after = one.events.last_sequence()
    shutil.copy(f"{foreign}/node.pem", f"{own}/node.pem")
    three.start_daemon()
    event = event_with(one, "peer_refused", "node3", after=after)
    assert "authority" in reason_of(event) or "cluster" in reason_of(event), event
    wait_for_states(one, {"node1": "ready", "node2": "ready", "node3": "unreachable"})
    assert any("node3" in warning for warning in status(one)["warnings"])

    three.kill_daemon()
    shutil.copy(f"{three.state}/kept/node.pem", f"{own}/node.pem")
    shutil.rmtree(f"{three.state}/kept")
    three.start_daemon()
    wait_for_states(one, dict.fromkeys(MANAGERS, "ready"))
    wait_for_members(one, MANAGERS)
    leave(four)


@pytest.mark.parametrize("offset, words", [("-1h", ("is not valid before", "apart")),
                                           ("25h", ("expired at", "apart"))], ids=["behind", "ahead"])
def test_a_node_whose_clock_is_wrong_cannot_join(managers, offset, words):
    one, four = managers.nodes[1], managers.nodes[4]
    four.kill_daemon(signal.SIGTERM)
    four.start_daemon(options=[f"--wall-clock-offset={offset}"])
    after = one.events.last_sequence()
    its_token = token(one)
    refused = refusal(join, four, one, its_token)
    assert all(word in refused for word in words) and "our clock says" in refused, refused
    event_with(one, "peer_refused", four.address, "by its clock; ours says", after=after)
    assert in_no_cluster(four)
    four.kill_daemon(signal.SIGTERM)
    four.start_daemon()
    join(four, one, its_token)
    leave(four)
    wait_for_states(one, dict.fromkeys(MANAGERS, "ready"))


@pytest.mark.parametrize("offset, words", [("18h", ("is not valid before", "apart")), ("-24h", ("apart",))],
                         ids=["ahead", "behind"])
def test_a_member_whose_clock_goes_wrong_is_refused_until_it_is_right(managers, offset, words):
    """Ahead: it signs itself a certificate that is not valid yet for the others. Behind: theirs are not for it, and what it signs
    itself has expired."""
    one, three = managers.nodes[1], managers.nodes[3]
    three.kill_daemon(signal.SIGTERM)
    after, after_there = one.events.last_sequence(), three.events.last_sequence()
    # Until it has signed itself another certificate: with the one before it would be let in, and stay.
    managers.cut(three, "nodes")
    certificate = os.path.join(three.state, "cluster", "node.pem")
    with open(certificate) as file:
        before = file.read()
    three.start_daemon(options=[f"--wall-clock-offset={offset}"])
    until(lambda: open(certificate).read() != before, "it signs itself no certificate")
    managers.heal()
    both = (event_with(one, "peer_refused", "node3", after=after),
            event_with(three, "peer_refused", after=after_there))
    said = " / ".join(map(reason_of, both))
    assert all(word in said for word in words) and "our clock says" in said and "by its clock; ours says" in said, said
    three.kill_daemon(signal.SIGTERM)
    three.start_daemon()
    wait_for_states(one, dict.fromkeys(MANAGERS, "ready"))
    wait_for_states(three, dict.fromkeys(MANAGERS, "ready"))
    wait_for_members(one, MANAGERS)


def test_a_removed_node_is_refused_and_can_join_again(managers):
    """Node 1: the one that calls the others."""
    one, two, three = (managers.nodes[number] for number in (1, 2, 3))
    refused = refusal(two.ask, "node", "remove", "node1", "--yes")
    assert "reachable" in refused
    before, before_there = two.events.last_sequence(), one.events.last_sequence()
    two.ask("node", "remove", "node1", "--force", "--yes")
    for node in (two, three):
        wait_for_states(node, {"node2": "ready", "node3": "ready"})
    until(lambda: "node1" not in members(two) and members(two), "etcd still has the member of node1")
    event = event_with(two, "peer_refused", "node1", after=before)
    assert "revoked" in reason_of(event) or "no member" in reason_of(event), event
    one.events.wait(lambda it: it["kind"] in ("peer_refused", "removed_from_cluster"), after=before_there)
    leave(one)
    assert in_no_cluster(one)
    join(one, two, token(two))
    wait_for_states(two, dict.fromkeys(MANAGERS, "ready"))


def test_etcd_has_three_members_again(managers):
    """With two managers it has had one: the member that was removed begins anew. See the test before."""
    wait_for_members(managers.nodes[2], MANAGERS)


# ---- Two nodes, and clocks of boot ----

def test_two_nodes_of_which_one_has_booted_a_day_before(make_lab):
    lab = make_lab(nodes=2, cluster=True, boottime={2: DAY})
    one, two, client = lab.nodes[1], lab.nodes[2], lab.client()
    assert list(members(one)) == ["node1"]
    for node in (one, two):
        warnings = status(node)["warnings"]
        assert len(warnings) == 1 and "'node1'" in warnings[0] and "only member of etcd" in warnings[0], warnings
    two.run(lab_spec("web", 50))
    wait_for_standby(two.container("web"), "node1")
    lines = client.lines(address(50), PORT)
    number, life = [lines.ask("incr") for _ in range(5)][-1], lines.ask("pid")
    for source, target in ((two, one), (one, two)):
        source.ask("move", "web", target.name)
        moved = target.container("web")
        assert wait_for_standby(moved) == source.name
        assert moved.inspect()["node"] == target.name
        assert (lines.ask("get"), lines.ask("pid")) == (number, life), "on the connection of before"
        for row in moved.inspect()["standbys"]:
            assert 0 <= row["newest"]["age_ns"] < 60e9, row
        assert 0 <= moved.inspect()["newest_committed"]["age_ns"] < 60e9


# ---- Names and addresses belong to the cluster ----

def test_what_a_container_of_another_node_has_is_refused_with_its_name(three):
    one, two = three.nodes[1], three.nodes[2]
    container = one.run(lab_spec("holder", 70))
    refused = refusal(two.run, lab_spec("other", 70))
    assert address(70) in refused and "'holder'" in refused, refused
    refused = refusal(two.run, lab_spec("holder", 71))
    assert "'holder'" in refused and "node1" in refused, refused
    assert two.ask("list")["containers"][0]["name"] == "holder" and len(two.names()) == 1
    container.remove()
    other = two.run(lab_spec("other", 70))
    other.remove()


# ---- perdured, hosts and etcd that are away ----

class Counting:
    """A container on a node with a client that counts in it."""

    def __init__(self, lab, number, name="web", ip=50):
        self.lab, self.name, self.ip = lab, name, ip
        self.container = lab.nodes[number].run(lab_spec(name, ip))
        self.standby = wait_for_standby(self.container)
        self.client = lab.client()
        self.lines = self.client.lines(address(ip), PORT)
        self.count()
        self.record = self.read()

    def count(self):
        """On the connection that was there from the beginning."""
        self.number = int(self.lines.ask("incr"))
        return self.number

    def read(self):
        return record(self.container.node, self.name)

    def newest(self):
        return self.container.inspect()["newest_committed"]["generation"]

    def remove(self):
        self.lines.close()
        self.container.remove()
        self.lab.remove_client(self.client)

    def wait_until_it_stands(self, by=bool):
        """Protected by a standby again, under the same term, and `by` says yes to the record's standbys, {node: life}: the
        owner has heard of what a test has done to one. The record."""
        seen = {}

        def stands():
            seen.update(self.read())
            return by(seen["standbys"])
        try:
            until(stands, "", LONG, 0.05)
        except TimeoutError:
            raise TimeoutError(f"the record is {seen}, was {self.record}") from None
        wait_for_standby(self.container)
        now = self.read()
        assert (now["owner"], now["term"]) == (self.record["owner"], self.record["term"])
        return now


@pytest.fixture
def counting(three):
    """On node 2, which is neither the first of the names nor, usually, etcd's leader."""
    one = Counting(three, 2)
    yield one
    one.remove()


@pytest.fixture
def patient(three):
    """Nobody takes over from a perdured that is down for a moment, however busy the machine is."""
    change_timing(three, three.nodes[1], "100ms,20s,1s", (100_000_000, 20_000_000_000, 1_000_000_000))
    yield
    change_timing(three, three.nodes[1], "default", (50_000_000, 250_000_000, 50_000_000))


def test_a_perdured_that_dies_owns_its_containers_again(three, patient, counting):
    node, before = three.nodes[2], counting.record
    pids, number = counting.container.pids(), counting.number
    node.kill_daemon()
    node.start_daemon()
    assert counting.count() == number + 1, "it runs on; if it was frozen for a checkpoint, since perdured is back"
    now = counting.wait_until_it_stands()
    assert now["incarnation"] > before["incarnation"]
    counting.container.wait_for_newer_generation(counting.newest())
    assert set(pids) <= set(counting.container.pids()) and counting.count() == number + 2


def test_a_standby_that_dies_stands_by_anew(three, counting):
    before, name = counting.record, counting.standby
    node = three.nodes[int(name[-1])]
    node.kill_daemon()
    node.start_daemon()
    # The other node may have been faster.
    now = counting.wait_until_it_stands(lambda lives: lives and lives.get(name) != before["standbys"][name])
    assert len(now["standbys"]) == 1
    assert now["incarnation"] == before["incarnation"]
    counting.count()


def test_all_perdureds_die_at_once(three, counting):
    before, number = counting.record, counting.number
    for node in three.nodes.values():
        node.kill_daemon()
    for node in three.nodes.values():
        node.start_daemon(wait=False)
    for node in three.nodes.values():
        node.wait_until_ready()
    assert counting.count() == number + 1
    now = counting.wait_until_it_stands(
        lambda lives: lives and all(life > before["standbys"].get(name, 0) for name, life in lives.items()))
    assert now["incarnation"] > before["incarnation"]
    assert counting.count() == number + 2
    wait_for_states(three.nodes[1], dict.fromkeys(MANAGERS, "ready"))


def test_the_host_of_a_standby_dies_and_boots(three, counting):
    name = counting.standby
    node = three.nodes[int(name[-1])]
    node.kill()
    counting.container.wait_until(lambda it: all(row["node"] != name for row in it["standbys"] if row["state"] == "ready"),
                                  f"{name} still stands by")
    counting.wait_until_it_stands()  # by the third node
    counting.count()
    node.boot()
    wait_for_states(three.nodes[2], dict.fromkeys(MANAGERS, "ready"))
    wait_for_members(three.nodes[2], MANAGERS)
    counting.wait_until_it_stands()


def test_the_host_of_etcds_leader_dies_and_boots(three):
    leader = etcd_leader(three, (1, 2, 3))
    number = 1 if leader != 1 else 2
    counting = Counting(three, number)
    three.nodes[leader].kill()
    counting.count()
    wait_for_standby(counting.container)
    other = three.nodes[number].run(lab_spec("after", 51))  # etcd has another leader
    assert wait_for_standby(other) == f"node{6 - leader - number}"
    counting.wait_until_it_stands(lambda lives: lives.keys() == {f"node{6 - leader - number}"})
    other.remove()
    three.nodes[leader].boot()
    wait_for_states(three.nodes[number], dict.fromkeys(MANAGERS, "ready"))
    wait_for_members(three.nodes[number], MANAGERS)
    counting.count()
    counting.remove()


def test_while_etcd_is_away_containers_run_and_are_checkpointed(three, counting):
    node, after = three.nodes[2], three.nodes[2].events.last_sequence()
    stopped = [etcd_pid(three.nodes[number]) for number in (1, 3)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        event_with(node, "etcd_away", after=after)
        assert not status(node)["has_quorum"]
        for _ in range(2):
            counting.container.wait_for_newer_generation(counting.newest())
            counting.count()
        held = counting.container.inspect()
        assert held["protection"]["state"] == "protected" and standby_of(counting.container) == counting.standby
        refused = refusal(node.run, lab_spec("late", 52))
        assert "etcd cannot be reached" in refused, refused
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    until(lambda: status(node)["has_quorum"], "etcd does not come back")
    assert counting.read() == counting.record
    late = node.run(lab_spec("late", 52))
    wait_for_standby(late)
    late.remove()
