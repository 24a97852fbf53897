"""The monitor of the LAN: it sees every frame that speaks for a container and by which port it came, it is not deceived by hosts
that die, come again or are cut, and it says so when it has lost one. Liars are sockets on the nodes that send frames by hand."""

import os
import signal
import socket
import time

import pytest
from lab_specs import address, lab_spec
from support import kernel
from support.node import until

from perdure_lab import LabError
from perdure_lab.monitor import question

MAC = bytes.fromhex("027064ffff01")
ADDRESS = address(90)
MANY = 60_000  # frames


class Liar:
    """Sends frames with the address of a container by the port of a node or client."""

    def __init__(self, pid, interface="eth0"):
        with kernel.network_namespace(pid):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((interface, 0))

    def claim(self, times=1):
        """As one does that asks for another: it gives its own address."""
        frame = question(MAC, socket.inet_aton(ADDRESS), socket.inet_aton(address(199)))
        for _ in range(times):
            self.socket.send(frame)


@pytest.fixture
def liar(lab):
    made = []

    def make(number):
        made.append(Liar(lab.nodes[number].describe()["pid"]))
        return made[-1]
    yield make
    for one in made:
        one.socket.close()
    lab.heal()


@pytest.fixture
def monitor(lab):
    with lab.monitor(ADDRESS) as one:
        yield one


def test_a_container_is_seen_by_all_of_its_addresses(lab):
    client = lab.client()
    container = lab.nodes[1].run(lab_spec("seen", 90))
    other = lab.nodes[2].run(lab_spec("other", 91))
    with lab.monitor(container, asking_from=client) as monitor:
        client.lines(ADDRESS, 5000).ask("get")
        client.lines("fd78::5a", 5000).ask("get")
        client.lines(address(91), 5000).ask("get")
        until(lambda: {"arp", "nd", "ip"} <= monitor.kinds("node1"), f"not all kinds: {monitor.kinds('node1')}")
        assert monitor.path() == ["node1"], "what others say is not recorded, what it is told neither"
        assert {frame.mac for frame in monitor.frames()} == {container.inspect()["mac_address"]}
        monitor.assert_single_speaker()
        monitor.assert_single_speaker([lab.nodes[1]])
    assert monitor.path() == ["node1"], "what was seen can be asked for afterwards"
    container.remove()
    other.remove()
    lab.remove_client(client)


def test_frames_are_in_the_order_of_time_and_each_change_is_a_silence(monitor, liar):
    one, other = liar(1), liar(2)
    begin = time.monotonic_ns()
    one.claim(3)
    time.sleep(0.05)  # what is measured
    other.claim(2)
    end = time.monotonic_ns()
    turns = monitor.speakers()
    assert [(turn.port, turn.count) for turn in turns] == [("node1", 3), ("node2", 2)]
    times = [frame.at for frame in monitor.frames()]
    assert times == sorted(times) and begin <= times[0] and times[-1] <= end
    (silence,) = monitor.silences(40)
    assert (silence.former, silence.port) == ("node1", "node2") and 50 <= silence.ms <= (end - begin) / 1e6
    assert monitor.silences(silence.ms + 1) == []
    monitor.assert_single_speaker(["node1", "node2"])


def test_who_speaks_again_after_another_is_found(monitor, liar):
    one, other = liar(1), liar(2)
    one.claim()
    other.claim()
    monitor.assert_single_speaker()
    one.claim()
    assert [turn.port for turn in monitor.returns()] == ["node1"]
    with pytest.raises(AssertionError, match="spoke again: node1"):
        monitor.assert_single_speaker()
    with pytest.raises(AssertionError, match="wanted"):
        monitor.assert_single_speaker(["node1", "node2"])


def test_who_is_handed_it_back_may_speak_once_more(monitor, liar):
    one, other = liar(1), liar(2)
    one.claim()
    other.claim()
    monitor.frames()
    monitor.handed_back("node1")
    one.claim()
    monitor.assert_single_speaker()
    other.claim()
    assert [turn.port for turn in monitor.returns()] == ["node2"], "it was handed over, and speaks still"
    since = monitor.now()
    one.claim()
    assert monitor.returns(since) == []


def test_what_a_cut_node_sends_counts(lab, monitor, liar):
    one, other = liar(1), liar(2)
    lab.cut(1)
    one.claim()
    other.claim()
    one.claim()
    assert monitor.path() == ["node1", "node2", "node1"]


def test_what_a_client_claims_is_seen(lab, monitor):
    client = lab.client()
    Liar(client.pid).claim()
    assert monitor.path() == [client.interface]
    lab.remove_client(client)


def test_a_node_that_has_lost_its_power_says_nothing_and_is_known_when_it_boots_again(lab, liar):
    container = lab.nodes[3].run(lab_spec("dying", 90, "counter.py", 4))
    client = lab.client()
    lines = client.lines(ADDRESS, 5000)
    with lab.monitor(ADDRESS) as monitor:
        lines.send(f"stream {10**9}")
        until(lambda: len(monitor.frames()) > 100, "it does not speak")
        container.checkpoint()  # with the connection: it will have something to say
        before = time.monotonic_ns()
        lab.kill(3)
        last = monitor.frames()[-1].at
        assert last < time.monotonic_ns() and monitor.path() == ["node3"]
        liar(2).claim()
        monitor.assert_single_speaker(["node3", "node2"])
        lab.nodes[3].boot()
        container.wait_until_protected()
        monitor.wait_for_speaker("node3", since=before)
        assert monitor.path() == ["node3", "node2", "node3"] and monitor.returns()
    container.remove()
    lab.remove_client(client)


def test_no_frame_is_lost_while_nobody_reads(monitor, liar):
    """The recorder stands still, as on a machine that has no time for it."""
    pid = monitor._process.pid
    os.kill(pid, signal.SIGSTOP)
    liar(1).claim(MANY)
    os.kill(pid, signal.SIGCONT)
    assert len(monitor.frames()) == MANY


def test_lost_frames_are_told(lab, liar):
    monitor = lab.monitor(ADDRESS)
    os.kill(monitor._process.pid, signal.SIGSTOP)
    liar(1).claim(3 * MANY)  # the ring has room for 131072
    os.kill(monitor._process.pid, signal.SIGCONT)
    with pytest.raises(AssertionError, match="has lost"):
        monitor.frames()
    with pytest.raises(AssertionError, match="has lost"):
        monitor.close()


def test_what_is_no_address_is_refused(lab):
    for whom in ((), ("node1",), (ADDRESS,) * 17):
        with pytest.raises(LabError):
            lab.monitor(*whom)
