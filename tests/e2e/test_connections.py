"""What the two ends of a TCP connection see after the container was rolled back, by policy: with `reset` both see a reset,
soon; with `splice` the stream goes on in the same connection, a download with a repeat, an upload with a hole. Nobody
stalls. See docs/recovery.md, "Connections"."""

import socket
import struct
import sys
import threading
import time

import pytest
from specs import ipv4, ipv6, make_spec
from support.node import DEADLINE, until
from support.rootfs import PROGRAMS

sys.path.insert(0, PROGRAMS)
from records import Ranges, lines_of, record  # noqa: E402

PORT, OTHER_PORT, CALLED_PORT = 5000, 5001, 7000
FAMILIES = pytest.mark.parametrize("family", [ipv4, ipv6])
SOON = 20.0  # seconds, on a loaded machine: less than any retransmission that has backed off would take to give up


class Reader:
    """Reads records in a thread, until the connection ends."""

    def __init__(self, connection):
        self.connection = connection
        self.seen = Ranges()
        self.end = None  # "closed" or the error's name
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for line in lines_of(self.connection):
                self.seen.add(line)
            self.end = "closed"
        except OSError as error:
            self.end = type(error).__name__

    def wait_for_more(self, count=100, deadline=DEADLINE):
        before = self.count()
        until(lambda: self.end or self.count() >= before + count, f"the download stands at {self.seen}", deadline)
        assert self.end is None, f"{self.end} after {self.seen}"

    def wait_until_beyond(self):
        """Beyond what had been read when the stream went back."""
        until(lambda: self.end or (len(self.seen.all) > 1 and self.seen.last() > self.seen.all[0][1] + 100),
              f"the download stands at {self.seen}")
        assert self.end is None, f"{self.end} after {self.seen}"

    def count(self):
        return sum(last - first + 1 for first, last in list(self.seen.all))


class Writer:
    """Writes records in a thread, one each millisecond, until the connection ends or it is told to stop."""

    def __init__(self, connection):
        self.connection = connection
        self.written = 0
        self.end = None
        self.stopping = False
        self.thread = threading.Thread(target=self._write, daemon=True)
        self.thread.start()

    def _write(self):
        try:
            while not self.stopping:
                self.connection.sendall(record(self.written))
                self.written += 1
                time.sleep(0.001)  # the pace of the stream
        except OSError as error:
            self.end = type(error).__name__

    def stop(self):
        self.stopping = True
        self.thread.join()


@pytest.fixture
def run(node, remove_after):
    """run(network...) -> (container, spec): the program of records, with nothing but the checkpoints that are asked for."""
    def start(**network):
        name = f"paced{len(remove_after)}"
        spec = make_spec(name, "paced.py", PORT, OTHER_PORT, checkpoint={"interval": "1h"}, network=True)
        spec["network"].update({key.replace("_", "-"): value for key, value in network.items()})
        remove_after.append(name)
        container = node.run(spec)
        until(lambda: "paced is ready" in container.logs(), "it does not listen")
        return container, spec
    return start


def opened(client, address, line, port=PORT):
    connection = client.connect(address, port, timeout=None)
    connection.sendall(line.encode() + b"\n")
    return connection


def called_by_container(client, spec, family, line):
    """A connection that the container opens to the client, and then serves `line` on."""
    own = next(address for address in client.addresses if (":" in address) == (family is ipv6))
    with client.socket(socket.AF_INET6 if family is ipv6 else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((own, CALLED_PORT))
        listener.listen(1)
        lines = client.lines(family(spec), PORT)
        assert lines.ask(f"call {own} {CALLED_PORT} {line}") == "called"
        return listener.accept()[0]


def segments_received(connection):
    """tcpi_segs_in of linux/tcp.h."""
    return struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 140)[0]


def seen_by_server(client, address, name):
    return Ranges(client.lines(address, PORT).ask(f"seen {name}"))


def wait_for_upload(client, address, name, number):
    """Waits until the server has received that record; the ranges."""
    until(lambda: seen_by_server(client, address, name).last() >= number, f"the upload {name} stands")
    return seen_by_server(client, address, name)


def told_in_container(container, of=("reset", "abort", "Broken pipe")):
    until(lambda: any(word in container.logs() for word in of), "the container's end was not told", SOON)


def check_repeat(seen, at_checkpoint):
    """A download that went on: nothing is missing, and what was sent since the checkpoint came twice."""
    assert len(seen.all) == 2, str(seen)
    (first, last), (again, end) = seen.all
    assert first == 0
    # One record may be torn where the stream goes on.
    assert at_checkpoint <= again <= last + 1 and end > last, str(seen)


def check_hole(seen, at_checkpoint, written):
    """An upload that went on: what was received since the checkpoint, and what was under way, is missing."""
    assert len(seen.all) == 2, str(seen)
    (first, last), (on, end) = seen.all
    assert first == 0
    assert at_checkpoint - 1 <= last < on <= written + 1, f"{seen}; {written} were written when it was restored"
    assert end > written


# ---- Streams ----

@FAMILIES
@pytest.mark.parametrize("opener", ["client", "container"])
def test_a_spliced_download_repeats(node, run, family, opener):
    container, spec = run(tcp_policy="splice")
    client = node.client()
    connection = (opened(client, family(spec), "download") if opener == "client" else
                  called_by_container(client, spec, family, "download"))
    reader = Reader(connection)
    reader.wait_for_more()
    at_checkpoint = reader.seen.last()
    container.checkpoint()
    reader.wait_for_more(300)
    restored = container.kill_and_wait()
    assert "spliced" in restored["text"]
    reader.wait_until_beyond()
    check_repeat(reader.seen, at_checkpoint)


@FAMILIES
@pytest.mark.parametrize("opener", ["client", "container"])
def test_a_spliced_upload_has_a_hole(node, run, family, opener):
    container, spec = run(tcp_policy="splice")
    client = node.client()
    connection = (opened(client, family(spec), "upload one") if opener == "client" else
                  called_by_container(client, spec, family, "upload one"))
    writer = Writer(connection)
    wait_for_upload(client, family(spec), "one", 100)
    container.checkpoint()
    wait_for_upload(client, family(spec), "one", writer.written + 300)
    container.kill_and_wait()
    written = writer.written
    seen = wait_for_upload(client, family(spec), "one", written + 1000)
    writer.stop()
    assert writer.end is None
    check_hole(seen, 100, written)


@FAMILIES
@pytest.mark.parametrize("stream", ["download", "upload one"])
@pytest.mark.parametrize("opener", ["client", "container"])
def test_a_reset_stream_ends_at_both_ends(node, run, family, opener, stream):
    container, spec = run()
    client = node.client()
    connection = (opened(client, family(spec), stream) if opener == "client" else
                  called_by_container(client, spec, family, stream))
    end = Reader(connection) if stream == "download" else Writer(connection)

    def progress():
        return end.seen.last() if stream == "download" else end.written

    until(lambda: progress() > 100, "the stream does not begin")
    container.checkpoint()
    at_checkpoint = progress()
    until(lambda: progress() > at_checkpoint + 300, "the stream stands")
    container.kill_and_wait()
    until(lambda: end.end, f"{stream} goes on", SOON)
    assert end.end in ("ConnectionResetError", "BrokenPipeError")
    told_in_container(container)


# ---- Connections at rest ----

@FAMILIES
@pytest.mark.parametrize("policy", ["reset", "splice"])
def test_an_idle_connection_goes_on_with_either_policy(node, run, family, policy):
    container, spec = run(tcp_policy=policy)
    lines = node.client().lines(family(spec), PORT)
    lines.send("echo")
    assert lines.ask("a") == "1 a"
    until(lines.acknowledged, "the question is not acknowledged")
    container.checkpoint()
    container.checkpoint()  # which knows that the answer has arrived
    assert "0 of 1 connections were reset" in container.kill_and_wait()["text"]
    lines.connection.settimeout(SOON)
    assert lines.ask("b") == "2 b"


@FAMILIES
@pytest.mark.parametrize("policy, expected", [("reset", None), ("splice", "2 d")])
def test_a_conversation_since_the_checkpoint_is_reset_or_forgotten(node, run, family, policy, expected):
    container, spec = run(tcp_policy=policy)
    lines = node.client().lines(family(spec), PORT)
    lines.send("echo")
    assert lines.ask("a") == "1 a"
    container.checkpoint()
    assert [lines.ask("b"), lines.ask("c")] == ["2 b", "3 c"]
    container.kill_and_wait()
    if expected is None:
        assert lines.reset_within(SOON) == "reset"
        told_in_container(container)
    else:
        lines.connection.settimeout(SOON)
        assert lines.ask("d") == expected  # the server does not remember b and c


def test_a_connection_that_only_answered_keep_alives_goes_on_at_once(node, run):
    container, spec = run()
    lines = node.client().lines(ipv4(spec), PORT)
    for option, seconds in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1)):
        lines.connection.setsockopt(socket.IPPROTO_TCP, option, seconds)
    lines.send("echo")
    assert lines.ask("a") == "1 a"
    until(lines.acknowledged, "the question is not acknowledged")
    container.checkpoint()
    container.checkpoint()
    lines.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # For so many seconds its answers carry timestamps of which the checkpoint knows nothing. What the restored socket says
    # would be dropped as old for as long, had its clock not gone on.
    answers, before = 9, segments_received(lines.connection)
    until(lambda: segments_received(lines.connection) >= before + answers, "no keep-alive is answered")
    assert "0 of 1 connections were reset" in container.kill_and_wait()["text"]
    lines.connection.settimeout(answers / 2)
    assert lines.ask("b") == "2 b"


# ---- Half-closed connections ----

@FAMILIES
@pytest.mark.parametrize("policy", ["reset", "splice"])
def test_a_download_whose_client_has_closed_its_side(node, run, family, policy):
    container, spec = run(tcp_policy=policy)
    connection = opened(node.client(), family(spec), "download")
    connection.shutdown(socket.SHUT_WR)
    reader = Reader(connection)
    reader.wait_for_more()
    at_checkpoint = reader.seen.last()
    container.checkpoint()
    reader.wait_for_more(300)
    container.kill_and_wait()
    if policy == "reset":
        until(lambda: reader.end, "the download goes on", SOON)
        assert reader.end == "ConnectionResetError"
        told_in_container(container)
    else:
        reader.wait_until_beyond()
        check_repeat(reader.seen, at_checkpoint)


@FAMILIES
@pytest.mark.parametrize("policy", ["reset", "splice"])
def test_an_upload_whose_server_has_closed_its_side(node, run, family, policy):
    container, spec = run(tcp_policy=policy)
    client = node.client()
    connection = opened(client, family(spec), "drain one")
    assert connection.recv(1) == b""
    writer = Writer(connection)
    wait_for_upload(client, family(spec), "one", 100)
    container.checkpoint()
    wait_for_upload(client, family(spec), "one", writer.written + 300)
    container.kill_and_wait()
    written = writer.written
    if policy == "reset":
        until(lambda: writer.end, "the upload goes on", SOON)
        told_in_container(container)
    else:
        seen = wait_for_upload(client, family(spec), "one", written + 1000)
        writer.stop()
        assert writer.end is None
        check_hole(seen, 100, written)


@FAMILIES
def test_an_end_since_the_checkpoint_does_not_come_again_so_both_ends_are_told(node, run, family):
    container, spec = run(tcp_policy="splice")
    reader = Reader(connection := opened(node.client(), family(spec), "download"))
    reader.wait_for_more()
    container.checkpoint()
    connection.shutdown(socket.SHUT_WR)
    reader.wait_for_more(300)
    container.kill_and_wait()
    until(lambda: reader.end, "the download goes on", SOON)
    assert reader.end == "ConnectionResetError"
    told_in_container(container)


@FAMILIES
def test_a_peer_that_takes_nothing_any_more_is_noticed(node, run, family):
    container, spec = run(tcp_policy="splice")
    records = 8000  # so many that the restored server still sends when the standstill is noticed
    reader = Reader(opened(node.client(), family(spec), f"download {records}"))
    reader.wait_for_more()
    container.checkpoint()
    until(lambda: reader.end, "the download does not end")
    # The server has closed the connection: what the restored one sends is acknowledged by nobody.
    assert reader.end == "closed" and reader.count() == records
    assert "1 spliced" in container.kill_and_wait()["text"]
    told_in_container(container)


# ---- Ports ----

@FAMILIES
def test_each_port_has_its_policy(node, run, family):
    container, spec = run(tcp_policy="reset", tcp_ports=[{"port": OTHER_PORT, "policy": "splice"},
                                                         {"port": CALLED_PORT, "policy": "splice"}])
    client = node.client()
    ends = Reader(opened(client, family(spec), "download", PORT))
    goes_on = [Reader(opened(client, family(spec), "download", OTHER_PORT)),
               Reader(called_by_container(client, spec, family, "download"))]
    for reader in [ends, *goes_on]:
        reader.wait_for_more()
    at_checkpoint = [reader.seen.last() for reader in goes_on]
    container.checkpoint()
    for reader in [ends, *goes_on]:
        reader.wait_for_more(300)
    assert "2 spliced" in container.kill_and_wait()["text"]
    until(lambda: ends.end, "the download goes on", SOON)
    assert ends.end == "ConnectionResetError"
    for reader, number in zip(goes_on, at_checkpoint):
        reader.wait_until_beyond()
        check_repeat(reader.seen, number)
