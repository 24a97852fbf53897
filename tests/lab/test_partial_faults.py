"""Faults of a part of a host: single services are cut, perdured or etcd stands still or dies alone, a disk is full, several hosts die at
once. Each is seen from outside: by connections, by the state of processes, by what can be written."""

import os
import select
import socket
import subprocess
import time

import pytest
from cluster_tools import wait_for_members
from lab_specs import address
from moving import run, spec_of
from support import kernel
from support.node import until
from wire import PATIENCE, SILENCE

from perdure_lab import Lab, LabError

DISK = 1 << 30


def connects(node, other, port, wait=PATIENCE):
    with kernel.network_namespace(node.describe()["pid"]):
        one = socket.socket()
    one.settimeout(wait)
    try:
        one.connect((other.address, port))
        return True
    except TimeoutError:
        return False
    finally:
        one.close()


def test_etcd_alone_is_cut(cluster):
    one, two, three = cluster.nodes.values()
    wait_for_members(one, ["node1", "node2", "node3"])
    cluster.cut(1, only="etcd")
    assert cluster.cuts() == [("all", "node1", "etcd"), ("node1", "all", "etcd")]
    for port in (7401, 7402):
        assert not connects(one, two, port, SILENCE) and not connects(two, one, port, SILENCE)
        assert connects(two, three, port)
    assert connects(one, two, 7400) and connects(two, one, 7400)
    cluster.heal(1)
    assert connects(one, two, 7401) and cluster.cuts() == []


def test_what_perdureds_say_to_each_other_is_cut_between_two(cluster):
    one, two, three = cluster.nodes.values()
    wait_for_members(one, ["node1", "node2", "node3"])
    cluster.cut(1, 2, only="perdured")
    assert not connects(one, two, 7400, SILENCE)
    assert connects(one, two, 7401) and connects(one, three, 7400)
    cluster.heal(1, 2)
    cluster.cut(1, 2, one_way=True, only="perdured")
    assert not connects(one, two, 7400, SILENCE) and not connects(two, one, 7400, SILENCE), "no answer comes back"
    cluster.heal()


def test_heartbeats_alone_are_cut(cluster):
    """UDP of their port; TCP of the same number passes."""
    one, two, _ = cluster.nodes.values()
    with kernel.network_namespace(two.describe()["pid"]):
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.bind(("eth0", 0))
    with kernel.network_namespace(one.describe()["pid"]):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def arrives(port, text, wait):
        end = time.monotonic() + wait
        while time.monotonic() < end:
            sender.sendto(text, (two.address, port))
            while time.monotonic() < end and select.select([sniffer], [], [], 0.02)[0]:
                if sniffer.recv(2048).endswith(text):
                    return True
        return False
    cluster.cut(1, 2, only="heartbeats", one_way=True)
    assert not arrives(7400, b"cut off", SILENCE)
    assert arrives(7399, b"another port", PATIENCE) and connects(one, two, 7400)
    cluster.heal()
    assert arrives(7400, b"healed", PATIENCE)
    sender.close()
    sniffer.close()


def test_clients_alone_are_cut_from_a_node(cluster):
    client = cluster.client()
    container = run(cluster, 1, spec_of("web", 50))
    assert client.lines(address(50), 5000).ask("get") == "0"
    cluster.cut(1, "clients")
    with pytest.raises(OSError):
        client.connect(address(50), 5000, SILENCE)
    with pytest.raises(OSError):
        cluster.client().connect(address(50), 5000, SILENCE)
    assert connects(cluster.nodes[1], cluster.nodes[2], 7400) and connects(cluster.nodes[2], cluster.nodes[1], 7401)
    cluster.heal()
    assert client.lines(address(50), 5000).ask("get") == "0"
    container.remove()


def test_a_cut_of_nothing_known_is_refused(cluster):
    with pytest.raises(LabError, match="limited to"):
        cluster.cut(1, only="everything")
    with pytest.raises(LabError, match="itself"):
        cluster.cut("clients", "clients")
    assert cluster.cuts() == []


def test_perdured_stands_still_and_goes_on(cluster):
    client = cluster.client()
    container = run(cluster, 1, spec_of("web", 51))
    node = cluster.nodes[1]
    node.pause_daemon()
    asked = node.popen_cli(["list"], stdout=-1)
    with pytest.raises(subprocess.TimeoutExpired):
        asked.wait(SILENCE)
    assert node.describe()["daemon"]["state"] == "ready", "nobody has told its service manager"
    assert client.lines(address(51), 5000).ask("get") == "0", "a container that runs is not touched"
    node.resume_daemon()
    assert asked.wait(PATIENCE) == 0
    asked.stdout.close()
    assert client.lines(address(51), 5000).ask("get") == "0"
    container.remove()


def test_etcd_of_a_node_is_killed_and_stands_still(cluster):
    one = cluster.nodes[1]
    wait_for_members(one, ["node1", "node2", "node3"])
    before = one.etcd_pid()
    one.kill_etcd()
    until(lambda: _etcd(one) not in (None, before), "perdured starts no other")
    wait_for_members(one, ["node1", "node2", "node3"])
    one.pause_etcd()
    assert one.execute("ss", "-tln").stdout.count(":7401"), "it listens still"
    assert wait_for_members(cluster.nodes[2], ["node1", "node2", "node3"]) is None, "the others are a majority"
    one.resume_etcd()
    wait_for_members(one, ["node1", "node2", "node3"])


def _etcd(node):
    try:
        return node.etcd_pid()
    except LabError:
        return None


def test_several_hosts_die_at_once(make_lab):
    lab = make_lab(nodes=3)
    lab.kill(1, lab.nodes[3])
    states = [node.describe()["state"] for node in lab.nodes.values()]
    assert states == ["down", "up", "down"]
    air = lab.connection.ask("on_air")["ports"]
    assert air["node2"][-1][1] is None and abs(air["node1"][-1][1] - air["node3"][-1][1]) < 10**9
    lab.nodes[3].boot()
    assert lab.nodes[3].names() == []


def test_a_disk_is_full_and_has_room_again_and_outlives_the_host(make_lab):
    lab = make_lab(nodes=2, disk_size=DISK)
    node, path = lab.nodes[1], f"{lab.nodes[1].state}/kept"
    node.execute("sh", "-c", f"echo kept > {path}; sync {path}")
    assert not os.path.exists(path), "only the node sees it"
    node.fill_disk()
    assert "No space left" in node.execute("sh", "-c", f"head -c 10000 /dev/zero > {path}.more && sync {path}.more", check=False).stderr
    assert lab.nodes[2].execute("sh", "-c", f"echo more > {lab.nodes[2].state}/more").returncode == 0
    node.free_disk()
    node.execute("sh", "-c", f"echo more > {path}.more")
    node.kill()
    node.boot()
    assert node.execute("cat", path).stdout == "kept\n"
    container = node.run({**spec_of("web", 52), "checkpoint": {"interval": "200ms"}})
    assert lab.client().lines(address(52), 5000).ask("incr") == "1"
    container.remove()


def test_a_disk_of_this_machine_is_not_filled(cluster):
    with pytest.raises(LabError, match="--disk-size"):
        cluster.nodes[1].fill_disk()


def test_the_memory_disk_is_full_and_has_room_again():
    with Lab(nodes=1) as lab:
        node = lab.nodes[1]
        node.fill_run()
        assert "No space left" in node.execute("sh", "-c", "yes | head -c 100000 > /run/more", check=False).stderr
        node.free_run()
        node.execute("sh", "-c", "yes | head -c 100000 > /run/more")
