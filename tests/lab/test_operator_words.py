"""What an operator does in a cluster, and what the cluster's record says of it afterwards: stop and restore, export and import,
removals that keep capsules, cordons, records whose owner is gone, and hosts that change their cluster."""

import os

import pytest
from cluster_tools import init, join, leave, record, refusal, token, wait_for_standby, wait_for_states
from lab_specs import PORT, address, lab_spec

from perdure_lab import CommandFailed
from perdure_lab.host import until

ON_DEMAND = {"interval": "1h"}


@pytest.fixture
def two(make_lab):
    return make_lab(nodes=2, cluster=True)


def lines_of(lab, number):
    return lab.client().lines(address(number), PORT)


def count(lab, number):
    """Five more; the number, and the life that counts."""
    lines = lines_of(lab, number)
    value, life = [lines.ask("incr") for _ in range(5)][-1], lines.ask("pid")
    lines.close()
    return value, life


def state(lab, number):
    lines = lines_of(lab, number)
    value, life = lines.ask("get"), lines.ask("pid")
    lines.close()
    return value, life


def test_what_was_stopped_and_restored_runs_for_the_cluster_too(two):
    one = two.nodes[1]
    container = one.run(lab_spec("web", 50, checkpoint=ON_DEMAND))
    counted = count(two, 50)
    generation = container.checkpoint()["generation"]["generation"]
    one.ask("stop", "web")
    one.ask("restore", "web", "--generation", generation, "--yes")
    assert state(two, 50) == counted
    container.wait_until(lambda it: [row["newest"] for row in it["standbys"]] not in ([], [None]),
                         "its standby has not got what was gone back to")
    one.ask("move", "web", "node2")  # which refuses what the record says is stopped
    assert state(two, 50) == counted


def test_what_was_imported_and_restored_is_stood_by_for(two):
    one, two_ = two.nodes[1], two.nodes[2]
    container = one.run(lab_spec("web", 50, checkpoint=ON_DEMAND))
    counted = count(two, 50)
    container.checkpoint()
    archive = os.path.join(one.state, "web.capsule")
    one.ask("export", "web", archive)
    container.remove()
    one.ask("import", archive)
    one.ask("restore", "web", "--yes")
    assert state(two, 50) == counted
    again = one.container("web")
    wait_for_standby(again, "node2")
    one.ask("move", "web", "node2")
    assert state(two, 50) == counted
    two_.container("web").remove()


def test_a_new_container_has_nothing_of_one_whose_capsules_were_kept(two):
    one = two.nodes[1]
    capsules = os.path.join(one.state, "capsules")
    first = one.run(lab_spec("web", 50, checkpoint={"interval": "1h", "standbys": 0}))
    old = count(two, 50)
    first.checkpoint()
    one.ask("rm", "web", "--force", "--keep-capsules", "--yes")
    kept = set(os.listdir(os.path.join(capsules, "web")))
    second = one.run(lab_spec("web", 50, checkpoint={"interval": "1h", "standbys": 0}))
    counted = count(two, 50)
    second.checkpoint()
    assert counted[1] != old[1]
    aside = [name for name in os.listdir(capsules) if name.startswith("web.before-")]
    assert len(aside) == 1 and kept <= set(os.listdir(os.path.join(capsules, aside[0])))
    one.kill()
    one.boot()
    second.wait_until(lambda it: it["last_restore"], "is not restored")
    assert state(two, 50) == counted


def test_a_cordoned_node_takes_no_new_containers(two):
    one = two.nodes[1]
    container = one.run(lab_spec("web", 50))
    one.ask("node", "cordon", "node1")
    refused = refusal(one.run, lab_spec("late", 51))
    assert "cordoned" in refused and "perdure node uncordon node1" in refused, refused
    one.kill_daemon()
    one.start_daemon()
    container.wait_until_protected()  # what it has it keeps
    one.ask("node", "uncordon", "node1")
    one.run(lab_spec("late", 51)).remove()


def test_the_record_of_what_a_removed_node_owned_is_removed_by_force(make_lab):
    lab = make_lab(nodes=3, cluster=True)
    one, three = lab.nodes[1], lab.nodes[3]
    three.run(lab_spec("web", 50))
    three.kill()
    until(lambda: [row["state"] for row in one.ask("node", "list")["nodes"] if row["name"] == "node3"] == ["unreachable"],
          "node3 seems to be there")
    one.ask("node", "remove", "node3", "--force", "--yes")
    wait_for_states(one, {"node1": "ready", "node2": "ready"})
    refused = refusal(one.ask, "rm", "web", "--yes")
    assert "belongs to node 'node3'" in refused, refused
    refused = refusal(one.run, lab_spec("other", 50))
    assert "'web'" in refused, refused
    one.ask("rm", "web", "--force", "--yes")
    until(lambda: one.names() == [] and lab.nodes[2].names() == [], "its record is there still")
    one.run(lab_spec("other", 50)).remove()


def test_a_host_changes_its_cluster_and_its_containers_run_on(make_lab):
    lab = make_lab(nodes=2)
    one, two = lab.nodes[1], lab.nodes[2]
    init(one, "--standbys", "0")
    for number in range(6):  # its store's revision, and with it the terms, rise
        token(one)
    container = one.run(lab_spec("web", 50, checkpoint=ON_DEMAND))
    term = record(one, "web")["term"]
    counted = count(lab, 50)
    container.checkpoint()
    leave(one)
    init(two, "--standbys", "0")
    try:
        join(one, two, token(two))
    except CommandFailed as failed:
        said = failed.reply()["message"]
        assert "'web'" in said and f"({term})" in said and "perdure import" in said, said
    else:
        assert record(one, "web")["term"] > term
    assert state(lab, 50) == counted
    one.kill()
    one.boot()
    container.wait_until(lambda it: it["last_restore"], "is not restored")
    assert state(lab, 50) == counted
    container.wait_until_protected()
