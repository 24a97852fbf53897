"""Nodes of a lab are killed, cut off and paused; clients and nodes see it on the wire as they would of real hosts. Who hears whom
is tried with datagrams, a death with every frame that reaches a client."""

import os
import signal
import subprocess
import time

import pytest
from lab_specs import PORT, address, lab_spec
from support.node import stop_process, until
from wire import FIN, PATIENCE, RST, SILENCE, Echo, Sniffer

from perdure_lab import LabError


@pytest.fixture
def echo(lab):
    client = lab.client()
    one = Echo(*((f"node{n}", node.describe()["pid"], node.address) for n, node in lab.nodes.items()),
               ("client", client.pid, client.addresses[0]))
    one.client = client
    yield one
    one.close()
    lab.heal()
    lab.remove_client(client)


def test_everybody_hears_everybody(lab, echo):
    names = ["node1", "node2", "node3", "client"]
    for listener in names:
        for speaker in names:
            assert listener == speaker or echo.hears(listener, speaker)


def test_a_cut_node_hears_nobody_and_is_not_heard_and_keeps_its_carrier(lab, echo):
    lab.nodes[1].cut()
    for other in ("node2", "client"):
        assert echo.deaf(other, "node1")
        assert echo.deaf("node1", other)
    assert echo.hears("node2", "client")
    assert lab.nodes[1].execute("cat", "/proc/net/dev").stdout.count("eth0") == 1
    assert "LOWER_UP" in lab.nodes[1].execute("ip", "link", "show", "eth0").stdout
    lab.nodes[1].heal()
    assert echo.hears("node1", "client")
    assert echo.hears("client", "node1")


def test_a_cut_one_way_lets_the_other_way_pass(lab, echo):
    assert echo.hears("node1", "client") and echo.hears("client", "node1")  # who has asked for addresses
    lab.cut(1, one_way=True)
    assert echo.deaf("client", "node1")
    assert echo.hears("node1", "client")
    lab.heal()
    lab.cut("all", 1, one_way=True)
    assert echo.hears("client", "node1")
    assert echo.deaf("node1", "client")


def test_two_nodes_are_cut_from_each_other_and_nobody_else(lab, echo):
    lab.cut(1, 2)
    assert echo.deaf("node1", "node2")
    assert echo.deaf("node2", "node1")
    for other in ("node3", "client"):
        for node in ("node1", "node2"):
            assert echo.hears(node, other)
            assert echo.hears(other, node)
    lab.heal(2, 1)
    assert echo.hears("node2", "node1")


def test_a_pair_is_cut_one_way(lab, echo):
    assert echo.hears("node1", "node2") and echo.hears("node2", "node1")
    lab.cut(1, 2, one_way=True)
    assert echo.deaf("node2", "node1")
    assert echo.hears("node1", "node2")
    lab.cut(echo.client, 2)
    assert echo.deaf("node2", "client")
    assert lab.cuts() == sorted([("node1", "node2"), (echo.client.interface, "node2"), ("node2", echo.client.interface)])


def test_heal_ends_what_it_names_only(lab, echo):
    lab.cut(1, 2)
    lab.cut(2, 3)
    lab.cut(3)
    lab.heal(1)
    assert lab.cuts() == [("all", "node3"), ("node2", "node3"), ("node3", "all"), ("node3", "node2")]
    lab.heal(2, 3)
    assert lab.cuts() == [("all", "node3"), ("node3", "all")]
    lab.heal()
    assert lab.cuts() == []
    assert echo.hears("node3", "node2")


def test_what_is_not_on_the_lan_cannot_be_cut(lab):
    for one, other in ((4, None), (1, 9), ("client1", None), (1, 1)):
        with pytest.raises(LabError):
            lab.cut(one, other)
    assert lab.cuts() == []


def test_without_rules_in_the_kernel_a_node_is_cut_from_everything_or_not_at_all(make_lab, tmp_path, monkeypatch):
    (tmp_path / "nft").write_text("#!/bin/sh\necho no such family; exit 1\n")
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lab = make_lab(nodes=2)
    client = lab.client()
    echo = Echo(*((f"node{n}", node.describe()["pid"], node.address) for n, node in lab.nodes.items()),
                ("client", client.pid, client.addresses[0]))
    for impossible in ((1, 2), (1, "all", True)):
        with pytest.raises(LabError, match="no such family"):
            lab.cut(*impossible)
    lab.cut(1)
    assert echo.deaf("client", "node1") and echo.deaf("node1", "node2")
    assert echo.hears("client", "node2")
    assert "LOWER_UP" in lab.nodes[1].execute("ip", "link", "show", "eth0").stdout
    lab.nodes[1].kill()
    lab.nodes[1].boot()
    assert lab.nodes[1].execute("busybox", "arping", "-c", "2", "-w", "1", "-I", "br0", "10.78.0.2", check=False).returncode
    lab.heal(1)
    lab.nodes[1].execute("busybox", "arping", "-c", "2", "-w", "10", "-I", "br0", "10.78.0.2")
    echo.close()


def test_a_paused_node_stands_still_and_goes_on(lab, echo):
    node = lab.nodes[2]
    container = node.run(lab_spec("steady", 60))
    lines = echo.client.lines(address(60), PORT)
    number = int(lines.ask("incr"))
    node.pause()
    lines.send("incr")
    lines.connection.settimeout(SILENCE)
    with pytest.raises(TimeoutError):
        lines.receive()
    for refused in (node.start_daemon, node.boot, node.names):
        with pytest.raises(LabError):
            refused()
    node.resume()
    lines.connection.settimeout(30)
    assert int(lines.receive()) == number + 1
    until(lambda: node.names() == ["steady"], "perdured does not answer")
    container.remove()


def test_perdured_dies_alone_and_its_containers_run_on(lab, echo):
    node = lab.nodes[2]
    container = node.run(lab_spec("alone", 61))
    lines = echo.client.lines(address(61), PORT)
    life = lines.ask("pid")
    assert os.WTERMSIG(node.kill_daemon()) == signal.SIGKILL
    assert lines.ask("pid") == life
    node.start_daemon()
    container.wait_until_protected()
    assert node.kill_daemon(signal.SIGTERM) == 0
    with pytest.raises(LabError, match="does not run"):
        node.kill_daemon()
    node.start_daemon()
    assert lines.ask("pid") == life
    container.remove()


_SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listens", flush=True)
connection, _ = server.accept()
connection.recv(1)
"""


def serve(node, client):
    """A process on the node, outside of containers and their gates, and a connection of the client's to it."""
    server = subprocess.Popen(node.argv(["/usr/bin/python3", "-c", _SERVER, node.address, str(PORT)]),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"listens\n"
    return server, client.connect(node.address, PORT)


def test_a_killed_node_sends_nothing_more(lab, echo):
    """Neither FIN nor RST, though the kernel closes all its sockets: of an idle connection, one that is being written to
    and one with data that nobody has read, to containers, and of one to a process that no gate keeps silent."""
    node = lab.nodes[3]
    node.run(lab_spec("victim", 62, checkpoint={"interval": "1h"}))
    node.run(lab_spec("hearer", 63, checkpoint={"interval": "1h"}))
    idle, busy = (echo.client.lines(address(62), PORT) for _ in range(2))
    unread = echo.client.lines(address(63), PORT)
    assert idle.ask("get") == unread.ask("get") == "0"
    for pid in node.container("hearer").pids():
        stop_process(pid)
    unread.send("get")
    until(unread.acknowledged, "the request does not arrive")
    server, bare = serve(node, echo.client)
    sniffer = Sniffer(echo.client)
    busy.send(f"stream {10**9}")
    end = time.monotonic() + PATIENCE
    while not sniffer.tcp_flags([address(62)], 0):
        assert time.monotonic() < end, "the busy connection is not seen"
        busy.receive()
    node.kill()
    flags = sniffer.tcp_flags((address(62), address(63), node.address), SILENCE)
    sniffer.close()
    assert server.wait(30) != 0
    assert [f for f in flags if f & (FIN | RST)] == []
    bare.close()
    for lines in (idle, unread):
        assert lines.reset_within(SILENCE) is None, "its peer knows nothing"
    with pytest.raises(LabError, match="is off"):
        node.cli("list")
    node.boot()
    assert node.describe()["boots"] == 2
    for name in ("victim", "hearer"):
        node.container(name).wait_until_protected()
        node.container(name).remove()


def test_a_process_that_is_killed_without_its_host_does_speak(lab, echo):
    """The control of the test above."""
    node = lab.nodes[2]
    server, connection = serve(node, echo.client)
    sniffer = Sniffer(echo.client)
    server.kill()  # it takes with it what it started on the node
    server.wait()
    until(lambda: any(flags & (FIN | RST) for flags in sniffer.tcp_flags([node.address], 0)), "no end of the connection is seen")
    sniffer.close()
    connection.close()


def test_a_cut_outlives_the_death_of_its_node(lab, echo):
    node = lab.nodes[3]
    node.cut()
    node.kill()
    node.boot()
    probe = node.execute("busybox", "arping", "-c", "2", "-w", "1", "-I", "br0", "10.78.0.1", check=False)
    assert probe.returncode != 0, probe.stdout
    lab.heal(3)
    probe = node.execute("busybox", "arping", "-c", "2", "-w", "10", "-I", "br0", "10.78.0.1", check=False)
    assert probe.returncode == 0, probe.stdout
