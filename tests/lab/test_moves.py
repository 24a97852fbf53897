"""Containers are moved between nodes of a cluster, drained from one, used from another, and removed: clients on the LAN count every
byte, and see on its ports which node speaks."""

import concurrent.futures
import os
import re
import subprocess

import pytest
from lab_specs import PORT, address
from moving import (Move, Speakers, Streams, copies, flag, flagged, inspect, keys, run, spec_of, stood_by_on, wait_until_only_on,
                    wait_until_stood_by, what_is_left)
from support.node import CommandFailed, until


def refused(node, *arguments):
    with pytest.raises(CommandFailed) as failed:
        node.cli(*arguments, "--json")
    return failed.value.code, failed.value.reply()["message"]


def test_no_byte_is_lost_over_moves_there_and_back_and_one_node_speaks_at_a_time(cluster):
    client = cluster.client()
    run(cluster, 1, spec_of("pump", 50, "pump.py", 4))
    speakers = Speakers(cluster, client, address(50), "fd78::32")
    streams = [Streams(client, one) for one in (address(50), "fd78::32")]
    path = [1, 2, 1, 3, 2]
    for source, target in zip(path, path[1:]):
        for one in streams:
            one.wait_for_progress()
        moved = cluster.nodes[1].ask("move", "pump", f"node{target}")
        assert (moved["from"], moved["to"], moved["container"]["node"]) == (f"node{source}", f"node{target}", f"node{target}")
        assert 0 < moved["frozen_ns"] < 60e9 and 0 < moved["bytes"]
    for one in streams:
        assert all(one.finish())
    wait_until_only_on(cluster, "pump", path[-1])
    assert speakers.close() == path
    assert all(speakers.kinds(number) == {"arp", "nd", "ip"} for number in set(path))
    cluster.nodes[1].container("pump").remove()


def in_netns(pid, *command):
    return subprocess.run(["nsenter", f"-t{pid}", "-n", *command], check=True, stdout=subprocess.PIPE, text=True).stdout


def test_what_was_received_and_not_acknowledged_stops_no_connection(cluster):
    """The client has much of what the container has sent, and its acknowledgements are lost before the container is frozen."""
    client = cluster.client()
    container = run(cluster, 1, spec_of("pump", 54, "pump.py", 2))
    streams = Streams(client, address(54))
    streams.wait_for_progress()
    inside = container.inspect()["init_pid"]

    def silence_amid_data():
        """How much is under way depends on the moment. True: more than a socket that is new sends at once (RFC 6928)."""
        streams.wait_for_progress()
        in_netns(client.pid, "nft", "add table inet mute; add chain inet mute out { type filter hook output priority 0; }; "
                 "add rule inet mute out meta l4proto tcp drop")
        until(lambda: not streams.moves(), "the download goes on without acknowledgements", step=0)
        sockets = cluster.nodes[1].execute("nsenter", f"-t{inside}", "-n", "ss", "-tinH").stdout
        if max((int(segments) for segments in re.findall(r"unacked:(\d+)", sockets)), default=0) > 10:
            return True
        in_netns(client.pid, "nft", "delete table inet mute")
        return False
    until(silence_amid_data, "little is under way at any time", step=0)
    move = Move(cluster.nodes[1], "pump", 2)
    until(lambda: copies(cluster, "pump").get(1), "the source does not freeze it")
    in_netns(client.pid, "nft", "delete table inet mute")
    assert move.end().returncode == 0
    assert all(streams.finish())
    wait_until_only_on(cluster, "pump", 2)
    cluster.nodes[1].container("pump").remove()


def test_memory_and_files_go_to_a_node_that_did_not_stand_by(cluster):
    client = cluster.client()
    run(cluster, 1, spec_of("web", 51))
    lines = client.lines(address(51), PORT)
    life, path = lines.ask("pid"), [1]
    for count in (1, 2, 3):
        assert lines.ask("incr") == str(count)
        # After a move the source stands by as well as who did before; one is let go.
        others = until(lambda: {1, 2, 3} - {path[-1], *stood_by_on(cluster, "web")}, "all others stand by", step=0.1)
        spare = others.pop()
        cluster.nodes[path[-1]].cli("move", "web", f"node{spare}")
        path.append(spare)
        wait_until_only_on(cluster, "web", spare)
        assert (lines.ask("pid"), lines.ask("get"), lines.ask("file")) == (life, str(count), str(count))
    owner = cluster.nodes[path[-1]]
    wait_until_only_on(cluster, "web", path[-1])
    assert lines.ask("incr") == "4"
    wait_until_stood_by(cluster, "web")
    owner.container("web").checkpoint()
    owner.container("web").kill_and_wait()
    again = client.lines(address(51), PORT)
    assert (again.ask("pid"), again.ask("get"), again.ask("file")) == (life, "4", "4")
    owner.container("web").remove()


def test_moves_that_cannot_be_are_refused(cluster):
    node = cluster.nodes[1]
    container = run(cluster, 1, spec_of("web", 52))
    lines = cluster.client().lines(address(52), PORT)
    for arguments, code, words in ((("web", "node9"), 4, "the cluster has no node 'node9'"),
                                   (("web", "node1"), 6, "is on node 'node1' already"),
                                   (("nothing", "node2"), 4, "there is no container 'nothing'")):
        said = refused(node, "move", *arguments)
        assert said[0] == code and words in said[1]
    node.cli("node", "cordon", "node2")
    assert refused(node, "move", "web", "node2")[0] == 6
    assert "'perdure node uncordon node2'" in refused(node, "move", "web", "node2")[1]
    node.cli("node", "uncordon", "node2")

    flag(cluster.nodes[2], "hold-criu")
    move = Move(node, "web", 2)
    until(lambda: flagged(cluster.nodes[2], "criu-waits"), "node2 does not restore")
    for arguments in (("move", "web", "node3"), ("stop", "web"), ("rm", "--force", "--yes", "web")):
        said = refused(node, *arguments)
        assert said[0] == 6 and "'node2'" in said[1] and ("being moved" in said[1] or "is moving" in said[1]), said
    flag(cluster.nodes[2], "hold-criu", False)
    assert move.end().returncode == 0, move.result
    assert lines.ask("incr") == "1"
    wait_until_only_on(cluster, "web", 2)
    wait_until_stood_by(cluster, "web")
    node.cli("stop", "web")
    said = refused(node, "move", "web", "node3")
    assert said[0] == 6 and "only a running one can be moved" in said[1]
    container.remove()


# nc becomes the shell when its client has come: the count is in the memory of the process that has the connection.
_ONE_CLIENT = ["/bin/busybox", "nc", "-l", "-p", str(PORT), "-e", "/bin/sh", "-c",
               "i=0; while read line; do i=$((i+1)); echo $NAME $i; done"]


def test_a_node_with_20_containers_is_drained_and_takes_them_again(cluster):
    client = cluster.client()
    names = {f"tiny-{number}": number for number in range(60, 80)}

    def start(name):
        spec = spec_of(name, names[name], "pump.py", environment={"NAME": name})
        cluster.nodes[1].cli("run", "--yes", cluster.nodes[1].write_spec({**spec, "command": _ONE_CLIENT}))
        return name, client.lines(address(names[name]), PORT)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        lines = dict(pool.map(start, names))
    macs = {name: inspect(cluster, name)["mac_address"] for name in names}

    def everybody_counts_to(count):
        for name in names:
            assert lines[name].ask("x") == f"{name} {count}"
    everybody_counts_to(1)
    for count, drained in ((2, 1), (3, 2)):
        before = {row["name"] for row in cluster.nodes[3].ask("list")["containers"] if row["node"] == f"node{drained}"}
        assert before
        said = cluster.nodes[3].ask("node", "drain", f"node{drained}", "--yes")
        assert said["failures"] == [] and set(said["moved"]) == before
        everybody_counts_to(count)
        rows = {row["name"]: row for row in cluster.nodes[drained].ask("list")["containers"]}
        assert set(rows) == set(names)
        assert all(row["node"] != f"node{drained}" for row in rows.values())
        until(lambda: all(drained not in copies(cluster, name) for name in before), "the former copies stay")
        states = {row["name"]: row["state"] for row in cluster.nodes[1].ask("node", "list")["nodes"]}
        assert states[f"node{drained}"] == "cordoned"
        said = cluster.nodes[3].ask("node", "uncordon", f"node{drained}")
        assert said["nodes"][0]["state"] == "ready"
    assert {name: inspect(cluster, name)["mac_address"] for name in names} == macs
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: cluster.nodes[1].container(name).remove(), names))


def test_every_node_answers_for_every_container(cluster):
    client, owner, other = cluster.client(), cluster.nodes[1], cluster.nodes[3]
    run(cluster, 1, spec_of("web", 53))
    lines = client.lines(address(53), PORT)
    lines.ask("incr")
    for node in cluster.nodes.values():
        assert [(row["name"], row["node"]) for row in node.ask("list")["containers"]] == [("web", "node1")]
    here, there = inspect(cluster, "web", owner), inspect(cluster, "web", other)
    assert all(there[key] == here[key] for key in ("name", "node", "term", "init_pid", "addresses", "spec_digest"))

    followed = other.popen_cli(["logs", "web", "--follow"], stdout=-1, text=True)
    assert "counter is ready" in followed.stdout.readline()
    before = inspect(cluster, "web", other)["newest_committed"]["generation"]
    assert other.ask("checkpoint", "web")["generation"] != before
    assert [g["generation"] for g in other.ask("generations", "web")["generations"]] == \
        [g["generation"] for g in owner.ask("generations", "web")["generations"]]
    other.cli("stop", "web")
    followed.kill()
    followed.wait()
    assert all(row["phase"] == "stopped" for node in cluster.nodes.values() for row in node.ask("list")["containers"])
    other.cli("start", "web")
    wait_until_stood_by(cluster, "web")
    assert client.lines(address(53), PORT).ask("get") == "0", "it began afresh"
    other.cli("rm", "--force", "--yes", "web")
    for node in cluster.nodes.values():
        until(lambda node=node: node.names() == [], f"{node.name} still lists it")
        assert refused(node, "inspect", "web")[0] == 4


def test_a_removed_container_leaves_nothing_on_any_node(cluster):
    before = keys(cluster.nodes[1])
    run(cluster, 1, spec_of("left-over", 54))
    cluster.nodes[1].cli("move", "left-over", "node3")
    wait_until_stood_by(cluster, "left-over")
    assert what_is_left(cluster, "left-over", address(54)), "it sees what there is"
    cluster.nodes[stood_by_on(cluster, "left-over")[0]].cli("rm", "--force", "--yes", "left-over")
    until(lambda: not what_is_left(cluster, "left-over", address(54)), f"left: {what_is_left(cluster, 'left-over', address(54))}")
    assert keys(cluster.nodes[1]) == before


def test_a_standby_that_was_dead_during_the_removal_forgets_it_when_it_boots(cluster):
    run(cluster, 1, spec_of("left-over", 55))
    dead = stood_by_on(cluster, "left-over")[0]
    cluster.nodes[dead].kill()
    assert os.path.exists(f"{cluster.nodes[dead].state}/containers/left-over"), "prepared"
    cluster.nodes[1].cli("rm", "--force", "--yes", "left-over")
    until(lambda: not [key for key in keys(cluster.nodes[1]) if "left-over" in key], "the record waits for the dead one")
    cluster.nodes[dead].boot()
    until(lambda: not what_is_left(cluster, "left-over", address(55)), f"left: {what_is_left(cluster, 'left-over', address(55))}")
    until(lambda: all(row["state"] == "ready" for row in cluster.nodes[1].ask("cluster", "status")["nodes"]), "it does not come back")


def test_what_is_shipped_of_an_idle_container_is_a_small_part_of_it(cluster):
    def shipped():
        return until(lambda: next((s for s in [inspect(cluster, "idle", cluster.nodes[1])]
                                   if s["standbys"][0]["newest"]["generation"] == s["newest_committed"]["generation"]), None),
                     "it is not shipped")
    container = run(cluster, 1, spec_of("idle", 56, "counter.py", 16))
    # The first generation may be of a program that still begins; from when it answers it is idle.
    cluster.client().lines(address(56), PORT).ask("pid")
    container.checkpoint()
    status = shipped()
    whole, before = status["last_capture"]["full_bytes"], status["standbys"][0]["shipped_bytes"]
    assert before > 16 << 20
    for _ in range(20):
        container.checkpoint()
    status = shipped()
    assert status["captures"] >= 21
    assert 0 < status["standbys"][0]["shipped_bytes"] - before < whole / 10
    container.remove()
