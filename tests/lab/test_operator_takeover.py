"""Takeovers by an operator's word, with real etcd, runc and CRIU: an owner dies when nobody stands by for it. Nothing happens by itself,
`perdure inspect` and `list` say what is waited for, `perdure takeover` says what would come back and brings it back; the former owner
returns, and does not speak."""

import json

from cluster_tools import change_timing, record, timing_in_force
from lab_specs import PORT, address
from moving import copies, flag, flagged, spec_of
from support.node import until
from taking_over import TAKES, Guarded

FAILED, NOT_FOUND, REFUSED, UNPROTECTED = 1, 4, 6, 8


def takes(node, name, *options):
    """What `perdure takeover` answers, as JSON. Nobody stands by for it yet."""
    result = node.try_cli("takeover", name, "--json", *options, timeout=TAKES * 3)
    assert result.returncode in (0, UNPROTECTED), result.stderr
    return json.loads(result.stdout)


def refusal(node, *arguments):
    """(exit code, message and remedy) of a takeover that is refused."""
    result = node.try_cli("takeover", *arguments, timeout=TAKES)
    assert result.returncode != 0, result.stdout
    return result.returncode, " ".join(result.stderr.split())


def wait_until_it_waits(node, name, owner):
    """Until that node says that the container waits for a word, in its events and in what inspect and list show."""
    event = node.events.wait("waiting_for_word", name, deadline=TAKES)
    assert owner.name in event["text"]
    status = node.ask("inspect", name)["container"]
    assert owner.name in status["waits_for"] and "no standby" in status["waits_for"], status
    assert f"perdure takeover {name}" in status["waits_remedy"]
    listed = next(row for row in node.ask("list")["containers"] if row["name"] == name)
    assert listed["waits_for"] == status["waits_for"]
    assert f"perdure takeover {name}" in " ".join(node.cli("list").split())
    return status


def drop_standby(guarded, standby):
    """Cuts it off from everybody; returns when the owner runs without it. Others are cordoned: nobody takes its place."""
    for node in guarded.others():
        if node is not standby:
            guarded.owner.cli("node", "cordon", node.name)
    guarded.lab.cut(standby)
    until(lambda: record(guarded.owner, guarded.name)["standbys"] == {}, "the standby is not dropped", TAKES, 0.05)


def test_what_a_dropped_standby_remembers_comes_back_at_a_word(make_lab):
    lab = make_lab(nodes=3, cluster=True)
    guarded = Guarded(lab, 60)
    owner, standby = guarded.owner, guarded.standbys()[0]
    third = next(node for node in guarded.others() if node is not standby)
    code, why = refusal(third, "web", "--yes")
    assert code == REFUSED and "stands by" in why
    drop_standby(guarded, standby)
    guarded.count()  # committed by nobody but the owner
    owner.kill()
    # One of three is left: nobody can become the owner, and that is said.
    until(lambda: third.try_cli("cluster", "status").returncode == 8, "there is a quorum still", TAKES)
    code, why = refusal(third, "web", "--force", "--yes")
    assert code == FAILED and "has no quorum" in why
    lab.heal()
    wait_until_it_waits(third, "web", owner)
    guarded.nobody_speaks()
    # A look changes nothing.
    code, why = refusal(third, "web")
    assert code == REFUSED and f"comes back on node '{standby.name}'" in why and "runs twice" in why
    assert record(third, "web")["owner"] == owner.name
    since = guarded.monitor.now()
    reply = takes(third, "web", "--force", "--yes")
    assert (reply["from"], reply["to"], reply["durable"]) == (owner.name, standby.name, False)
    assert reply["age_ns"] > 0 and reply["container"]["term"] == guarded.term + 1
    guarded.wait_until_taken_over([standby], since)
    guarded.check_committed()
    for node, words in ((third, "has node"), (standby, "has this node take it over")):
        event = node.events.wait("takeover_ordered", "web")
        assert f"an operator on node '{third.name}'" in event["text"] and words in event["text"]
    assert f"as ordered by an operator on node '{third.name}'" in guarded.took_over(standby)["text"]
    # The former owner comes back and finds the higher term.
    owner.boot()
    for node in lab.nodes.values():
        standby.try_cli("node", "uncordon", node.name)
    guarded.check_end([standby.name], since)


def test_what_the_durable_directory_holds_comes_back_at_a_word(make_lab, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    lab = make_lab(nodes=4, cluster=True, durable_directory=str(shared))
    guarded = Guarded(lab, 61, owner=4)
    owner, standby = guarded.owner, guarded.standbys()[0]
    generation = guarded.container.checkpoint()["generation"]["generation"]
    guarded.committed = guarded.latest

    def durable():
        rows = owner.ask("generations", "web")["generations"]
        return any(row["generation"] == generation and row["durable"] for row in rows)
    until(durable, "it does not become durable", TAKES)
    guarded.count()
    others = [node for node in guarded.others() if node is not standby]
    lab.kill(owner, standby)
    standby.boot()  # its memory is gone
    event = standby.events.wait("waiting_for_word", "web", deadline=TAKES)
    assert owner.name in event["text"]
    plan = next(row for row in others[0].ask("cluster", "recover", "web")["containers"])
    assert (plan["action"], plan["durable"], plan["generation"]) == ("restore", True, generation)
    since = guarded.monitor.now()
    reply = takes(others[0], "web", "--to", standby.name, "--force", "--yes")
    assert (reply["to"], reply["durable"], reply["generation"]) == (standby.name, True, generation)
    guarded.wait_until_taken_over([standby], since)
    guarded.check_committed()
    owner.boot()
    guarded.check_end([standby.name], since)


def test_an_owner_that_is_alive_is_not_taken_over(make_lab):
    lab = make_lab(nodes=2, cluster=True)
    container = lab.nodes[1].run(spec_of("web", 62, checkpoint={"interval": "1h", "standbys": 0}))
    term = container.inspect()["term"]
    code, why = refusal(lab.nodes[2], "web", "--yes")
    assert code == REFUSED and "is alive there" in why and "perdure move web" in why
    code, why = refusal(lab.nodes[1], "web", "--to", "node3", "--yes")
    assert code == NOT_FOUND and "no node of the cluster" in why
    code, why = refusal(lab.nodes[2], "nothing", "--yes")
    assert code == NOT_FOUND and "no record" in why
    assert container.inspect()["term"] == term and list(copies(lab, "web")) == [1]
    assert lab.client().lines(address(62), PORT).ask("get")


def test_the_timing_of_a_cluster_is_changed_while_containers_run(make_lab):
    lab = make_lab(nodes=3, cluster=True, timing="fast")
    assert {timing_in_force(node) for node in lab.nodes.values()} == {(20_000_000, 80_000_000, 20_000_000)}
    # A host that is busy with other labs stands still for 80 ms now and then.
    change_timing(lab, lab.nodes[1], "default", (50_000_000, 250_000_000, 50_000_000))
    guarded = Guarded(lab, 63)
    standby = guarded.standbys()[0]
    for timing, wanted in (("200ms,1s,100ms", (200_000_000, 1_000_000_000, 100_000_000)),
                           ("500ms,2s,200ms", (500_000_000, 2_000_000_000, 200_000_000))):
        change_timing(lab, standby, timing, wanted)
        guarded.stays()
        assert [row["node"] for row in guarded.status()["standbys"] if row["state"] == "ready"] == [standby.name]
    # 2 s and the margin pass before anybody takes over.
    guarded.owner.kill()
    died = guarded.monitor.now()
    guarded.wait_until_taken_over([standby], died)
    assert guarded.took_over(standby)["durations_ns"]["noticed"] >= 2_200_000_000
    guarded.check_committed()
    guarded.check_end([standby.name], died)


def test_the_only_standby_ends_while_it_takes_over(cluster):
    """Its next life has nothing of it, and says so. The former owner has what lies on its disk, and brings it back at a word."""
    guarded = Guarded(cluster, 63)
    first, (taker,) = guarded.owner, guarded.standbys()
    flag(taker, "hold-criu")
    first.kill()
    until(lambda: flagged(taker, "criu-waits"), "it does not take over", TAKES)
    taker.kill_daemon()
    flag(taker, "fail-criu")  # which lives on, and would restore it behind a gate that nobody shuts
    flag(taker, "hold-criu", False)
    taker.start_daemon()
    flag(taker, "fail-criu", False)
    status = wait_until_it_waits(taker, guarded.name, taker)
    assert "ended while it took it over" in status["waits_for"]
    code, why = refusal(taker, "web", "--yes")
    assert code == NOT_FOUND and "can be had" in why
    first.boot()

    def planned():
        plan = first.ask("cluster", "recover", guarded.name)
        rows = plan["containers"]
        return "no quorum" not in plan["etcd"] and rows and rows[0]["action"] == "restore" and rows[0]["node"] == first.name
    until(planned, "what the former owner has is not found", TAKES, 0.5)
    assert copies(cluster, guarded.name) == {}
    first.cli("cluster", "recover", guarded.name, "--apply", "--yes")
    guarded.check_committed()
    guarded.check_end([first, taker, first])  # where it was announced, at least
