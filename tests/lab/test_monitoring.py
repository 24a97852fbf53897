"""What the nodes of a cluster say to Prometheus and in `perdure status`: of a container with a standby, over a move, and while nodes
are away."""

import json

from cluster_tools import wait_for_members, wait_for_standby
from lab_specs import PORT, address, lab_spec
from support.metrics import scrape
from support.node import until

UNPROTECTED = 8  # exit code
LONG = 60.0


def status(node):
    done = node.try_cli("status", "--json")
    assert done.returncode in (0, UNPROTECTED), done.stderr
    return done.returncode, json.loads(done.stdout)


def wait_until_well(node):
    until(lambda: status(node)[0] == 0, "does not become well", LONG, 0.2)


def test_standbys_moves_and_nodes_that_are_away(make_lab):
    lab = make_lab(nodes=3, cluster=True)
    one = lab.nodes[1]
    container = one.run(lab_spec("web", 50))
    standby = wait_for_standby(container)
    other = next(name for name in ("node2", "node3") if name != standby)
    wait_until_well(one)
    table = one.try_cli("status").stdout
    assert table.startswith("all is well\n"), table
    assert "3 of 3 nodes up, quorum" in table
    assert any(line.split()[:4] == ["web", "node1", "protected", standby] for line in table.splitlines()), table
    assert all(len(line) <= 80 for line in table.splitlines()), table

    # The owner knows of its standby, the standby of what it holds; the third node of neither.
    owner = scrape(one)
    assert owner.value("perdure_container_standbys", container="web") == 1
    assert owner.value("perdure_container_standbys_wanted", container="web") == 1
    assert owner.value("perdure_standby_ready", container="web", node=standby) == 1
    assert owner.value("perdure_standby_generations_behind", container="web", node=standby) <= 3
    assert owner.value("perdure_standby_held_bytes", container="web", node=standby) > 8 << 20
    assert owner.value("perdure_cluster_quorum") == 1
    assert owner.value("perdure_cluster_nodes", state="ready") == 3
    assert owner.value("perdure_cluster_node_up", node="node3") == 1
    assert owner.value("perdure_etcd_member_running") == 1
    assert owner.value("perdure_takeovers_total", result="completed") == 0
    assert owner.value("perdure_certificate_expiry_timestamp_seconds") > owner.value("process_start_time_seconds")
    nodes = {node.name: node for node in lab.nodes.values()}
    held = scrape(nodes[standby])
    assert held.value("perdure_held_containers") == 1
    assert held.value("perdure_held_memory_bytes") > 8 << 20
    assert held.value("perdure_container_protected", container="web") is None, "it is not its container"
    assert scrape(nodes[other]).value("perdure_held_containers") == 0

    # A move is counted where it began, and the container's metrics go along.
    moved = one.ask("move", "web", standby)
    source = scrape(one)
    assert source.value("perdure_moves_total", result="moved") == 1
    assert source.value("perdure_moves_total", result="failed") == 0
    assert 0 < source.value("perdure_move_frozen_seconds_sum") <= moved["frozen_ns"] / 1e9 + 0.001
    until(lambda: scrape(one).value("perdure_container_captures_total", container="web") is None, "is still node1's", LONG)
    target = nodes[standby]
    until(lambda: scrape(target).value("perdure_container_protected", container="web") == 1, "is not protected there", LONG)

    # A node that is away is a problem on every screen, and a sample on every other node.
    wait_until_well(one)
    wait_for_members(one, nodes)
    away = nodes[other]
    away.kill()
    until(lambda: scrape(one).value("perdure_cluster_node_up", node=other) == 0, "is not missed", LONG)
    seen = scrape(one)
    assert seen.value("perdure_cluster_nodes", state="unreachable") == 1
    assert seen.value("perdure_cluster_quorum") == 1
    code, answer = status(one)
    assert code == UNPROTECTED
    assert f"node {other}" in [problem["object"] for problem in answer["problems"]]
    assert all(problem["remedy"] for problem in answer["problems"])

    # Without a quorum too: what is known is said.
    one.pause()
    until(lambda: scrape(target).value("perdure_cluster_quorum") == 0, "still has a quorum", LONG)
    code, answer = status(target)
    assert code == UNPROTECTED
    assert "cluster" in [problem["object"] for problem in answer["problems"]]
    one.resume()
    away.boot()
    until(lambda: scrape(target).value("perdure_cluster_quorum") == 1, "has no quorum", LONG)
    wait_until_well(target)


def test_a_takeover_is_measured_by_the_node_that_has_done_it(make_lab):
    lab = make_lab(nodes=3, cluster=True)
    one = lab.nodes[1]
    client = lab.client()
    container = one.run(lab_spec("web", 50, checkpoint={"interval": "1h"}))
    taker = {node.name: node for node in lab.nodes.values()}[wait_for_standby(container)]
    wait_for_members(one, ["node1", "node2", "node3"])  # two must be left
    # Nothing is lost with a generation that is newer than the owner's last heartbeat.
    until(lambda: container.inspect()["newest_committed"]["age_ns"] > 1e9, "it is still new", LONG)
    before = scrape(taker)
    assert before.value("perdure_takeovers_total", result="completed") == 0
    one.kill()

    def answers():
        try:
            client.connect(address(50), PORT, timeout=1).close()
        except OSError:
            return False
        return scrape(taker).value("perdure_takeovers_total", result="completed") == 1
    until(answers, "is not taken over", LONG)
    until(lambda: scrape(taker).value("perdure_takeover_seconds_count", step="first_packet") == 1, "has sent nothing", LONG)
    after = scrape(taker)
    steps = ["noticed", "swapped", "restored", "first_packet"]
    assert [after.value("perdure_takeover_seconds_count", step=step) for step in steps] == [1, 1, 1, 1]
    took = [after.value("perdure_takeover_seconds_sum", step=step) for step in steps]
    assert took == sorted(took) and 0 < took[0], took
    last = [after.value("perdure_container_last_takeover_seconds", container="web", step=step) for step in steps]
    assert [round(seconds, 6) for seconds in last] == [round(seconds, 6) for seconds in took]
    assert after.value("perdure_container_last_takeover_lost_seconds", container="web") > 0
    assert after.value("perdure_container_last_restore_seconds", container="web", step="restored") is None
    assert after.value("perdure_restore_seconds_count", step="restored") == 0
    assert after.value("perdure_takeovers_total", result="failed") == 0
    until(lambda: scrape(taker).value("perdure_container_protected", container="web") == 1, "is not protected", LONG)

    def names_the_dead_node():  # its connection has to have been silent for two seconds
        code, answer = status(taker)
        return code == UNPROTECTED and "node node1" in [problem["object"] for problem in answer["problems"]] and answer
    answer = until(names_the_dead_node, "node1 is not named", LONG)
    web = answer["containers"][0]
    assert (web["node"], web["last_restore"]["taken_from"]) == (taker.name, "node1")
    assert "takeover " in taker.try_cli("status").stdout
