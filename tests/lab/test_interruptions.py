"""What clients say of a failure: how long they heard nothing, how much state was lost. First from readings made by hand, then of
containers that are restored and moved."""

import time

import pytest
from lab_specs import PORT, address
from moving import run, spec_of
from support.node import until

from perdure_lab.callers import LastingStream, ReconnectingClient
from perdure_lab.interruptions import interruption, setback

MS = 1_000_000


def readings(*pairs):
    return [(at * MS, value) for at, value in pairs]


@pytest.mark.parametrize("seen, mark, expected", [
    ([(0, 1), (1, 2), (2, 3), (50, 4), (51, 5)], 0, (2, 48, 0)),          # nothing was taken back
    ([(0, 1), (1, 2), (2, 3), (50, 3), (51, 4)], 0, (2, 48, 1)),          # one was: what was known at 1
    ([(0, 1), (1, 2), (2, 3), (50, 1), (51, 2)], 0, (2, 48, 2)),          # all of it
    ([(0, 1), (10, 2), (40, 9), (50, 3), (51, 4)], 2, (40, 10, 30)),      # from a mark on; what was lost lies before it
    ([(0, 1), (1, 2), (5, 1), (6, 2), (7, 3), (30, 3), (31, 4)], 3, (7, 23, 1)),  # after an earlier one
])
def test_a_failure_is_read_off(seen, mark, expected):
    found = interruption(readings(*seen), mark)
    assert (found.begin / MS, found.ms, found.lost_ms) == expected


def test_a_failure_is_told_from_longer_silences():
    seen = readings((0, 1), (1, 2), (90, 3), (95, 2), (96, 3), (200, 4))
    assert interruption(seen).ms == 104
    assert setback(seen) == (90 * MS, 5, 90)
    with pytest.raises(ValueError):
        setback(seen, mark=3)


def test_one_reading_says_nothing():
    with pytest.raises(ValueError):
        interruption(readings((0, 1)))


def test_a_restored_container_has_gone_back_and_its_clients_come_again(lab):
    client = lab.client()
    ticker = client.ticker(address(92))
    ticking = lab.nodes[1].run(spec_of("ticking", 92, "ticker.py", ticker.address, ticker.port))
    counting = lab.nodes[1].run(spec_of("counting", 93))
    caller = ReconnectingClient(client, address(93), PORT, "incr")
    stream = LastingStream(client, address(93), PORT)
    for one in (caller, stream):
        one.wait_for_more(100)
    for container in (ticking, counting):
        container.checkpoint()
    since = ticker.count()
    for one in (caller, stream):
        one.wait_for_more(200)  # that is what is lost
    ticker.wait_for(lambda arrivals: len(arrivals) > since + 200, "it does not tick")
    marks = ticker.mark(), caller.mark()
    for container in (ticking, counting):
        container.kill_and_wait()
    heard = ticker.count()
    ticker.wait_for(lambda arrivals: len(arrivals) > heard + 100, "it does not tick again")
    caller.wait_for_more(100)
    for one, mark in ((ticker, marks[0]), (caller, marks[1])):
        seen = one.setback(mark)
        assert 1 < seen.ms < 30_000 and 0 < seen.lost_ms < 30_000
    assert caller.connections >= 2
    until(lambda: stream.broken, "the connection goes on, with what was sent already")
    assert stream.broken == "reset" and stream.jumps == []
    for one in (caller, stream, ticker):
        one.close()
    for container in (ticking, counting):
        container.remove()


def test_a_moved_container_has_lost_nothing_and_its_clients_stay(cluster):
    client = cluster.client()
    run(cluster, 1, spec_of("web", 94))
    caller = ReconnectingClient(client, address(94), PORT, "incr")
    stream = LastingStream(client, address(94), PORT)
    stream.wait_for_more(100)
    mark = stream.mark()
    cluster.nodes[1].cli("move", "web", "node2")
    stream.wait_for_more(100)
    seen = stream.interruption(mark)
    assert seen.ms > 1 and seen.lost_ms == 0 and stream.broken is None and stream.jumps == []
    caller.wait_for_more()
    values = [value for _, value in caller.readings]
    assert all(b > a for a, b in zip(values, values[1:])) and caller.interruption().lost_ms == 0, "an impatient one asks again"
    for one in (caller, stream):
        one.close()
    cluster.nodes[1].container("web").remove()


class Script:
    """A server's side of a LastingStream."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def settimeout(self, _):
        pass

    def sendall(self, _):
        pass

    def close(self):
        pass

    def recv(self, _):
        if self.pieces:
            return self.pieces.pop(0)
        time.sleep(0.01)
        raise TimeoutError

    def connect(self, *_):
        return self


def test_a_spliced_stream_repeats_lines_within_its_connection():
    """The line at which the two lives meet may be two halves."""
    stream = LastingStream(Script(b"0\n1\n2\n3\n4", b"1\n2\n3\n4\n", b"5\n"), "", 0)
    until(lambda: len(stream.readings) == 7, "not all lines are taken")
    assert stream.jumps == [(4, 2)] and stream.broken is None
    assert [value for _, value in stream.readings] == [0, 1, 2, 3, 3, 4, 5]
    stream.close()
