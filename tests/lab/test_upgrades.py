"""perdured is restarted on purpose, as an upgrade does it: nobody takes that for a failure, and nobody hears of it. What becomes of a
host that dies just then is bounded by the grant that it has asked for."""

import signal
import time

from lab_specs import address
from moving import inspect, run, spec_of, wait_until_stood_by
from support.node import until
from taking_over import TAKES, Guarded

from perdure_lab.callers import LastingStream

MS = 1_000_000
GRANT = 3.0  # seconds, where a test waits for its end
SOON = 1.5   # seconds in which an end has to be prepared, on a loaded machine


def waits_for(standby):
    """What it says of the owner that is away."""
    status = next(one for one in standby.ask("list")["containers"] if one["name"] == "web")
    return next((row["reason"] for row in status["standbys"] if row["node"] == standby.name), None)


def restart(node, options=()):
    """Returns how long perdured took to end."""
    begin = time.monotonic()
    assert node.kill_daemon(signal.SIGTERM) == 0
    took = time.monotonic() - begin
    node.start_daemon(options=options)
    return took


def test_owner_standby_and_third_are_restarted_in_turn_and_every_tick_is_heard(cluster):
    client = cluster.client()
    ticker = client.ticker(address(90))
    ticking = run(cluster, 1, spec_of("ticking", 90, "ticker.py", ticker.address, ticker.port))
    ticking.checkpoint()
    before = inspect(cluster, "ticking")
    monitor = cluster.monitor(ticking, asking_from=client)
    monitor.wait_for_speaker(cluster.nodes[1])
    standby = next(row["node"] for row in before["standbys"] if row["state"] == "ready")
    third = next(node.name for node in cluster.nodes.values() if node.name not in ("node1", standby))
    first = ticker.mark()
    for name in ("node1", standby, third):
        node = next(one for one in cluster.nodes.values() if one.name == name)
        restart(node)
        wait_until_stood_by(cluster, "ticking", node=cluster.nodes[1])
        now = inspect(cluster, "ticking", cluster.nodes[1])
        assert (now["node"], now["term"]) == ("node1", before["term"])
    heard = ticker.count()
    ticker.wait_for(lambda arrivals: len(arrivals) > heard + 100, "it does not tick any more")
    numbers = [number for _, number in ticker.snapshot()[first:]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a tick was lost or came twice"
    until(lambda: inspect(cluster, "ticking", cluster.nodes[1])["protection"]["state"] == "protected", "it is not protected again")
    ticker.close()
    monitor.close()
    monitor.assert_single_speaker(["node1"])
    cluster.nodes[1].cli("rm", "--force", "--yes", "ticking")


def test_a_restarted_owner_is_taken_over_as_soon_as_ever_when_it_dies_afterwards(cluster):
    """The long grant of the life before is given back: its standby does not wait for it."""
    it = Guarded(cluster, 91)
    first = it.owner
    (standby,) = it.standbys()
    restart(first)
    it.wait_until_protected(first)
    standby.events.wait("owner_restarted", "web", deadline=TAKES)
    it.commit()
    begin = it.monitor.now()
    first.kill()
    it.wait_until_taken_over()
    silence = it.monitor.silences(since=begin - 1000 * MS)[-1]
    assert silence.ms < 10_000, "the grant was of 30 s"
    it.check_committed()
    it.check_end([first, it.owner])


def test_a_host_that_dies_in_the_middle_is_taken_over_when_the_long_grant_has_run_out(cluster):
    it = Guarded(cluster, 92)
    first = it.owner
    restart(first, ["--restart-grant", f"{GRANT:.0f}s"])
    it.wait_until_protected(first)
    it.commit()
    (standby,) = it.standbys()
    asked = it.monitor.now()
    assert first.kill_daemon(signal.SIGTERM) == 0
    waits = until(lambda: waits_for(standby), "nobody says that it waits")
    assert "for 'node1', which is restarting" in waits
    first.kill()
    it.wait_until_taken_over([standby])
    speaks = min(frame.at for frame in it.monitor.frames(asked) if frame.port == standby.name)
    assert speaks - asked > GRANT * 1000 * MS, "the gate of the former owner may have been open"
    assert any(event["kind"] == "owner_restarts" for event in standby.events.of("web"))
    it.check_committed()
    first.boot()
    it.check_end([first, it.owner])


def test_without_a_grant_the_end_is_a_failure_like_any_other(cluster):
    it = Guarded(cluster, 93)
    first = it.owner
    restart(first, ["--restart-grant", "0"])
    it.wait_until_protected(first)
    it.commit()
    begin = it.monitor.now()
    assert first.kill_daemon(signal.SIGTERM) == 0
    it.wait_until_taken_over(since=begin)
    it.check_committed()
    first.start_daemon()
    it.check_end([first, it.owner])


def test_a_standby_that_ends_is_dropped_before_it_does(cluster):
    it = Guarded(cluster, 94)
    stream = LastingStream(it.client, address(94), 5000)
    stream.wait_for_more(50)
    (standby,) = it.standbys()
    assert standby.kill_daemon(signal.SIGTERM) == 0
    dropped = it.owner.events.wait("standby_dropped", "web", deadline=TAKES)
    assert "its perdured is being restarted" in dropped["text"]
    until(lambda: it.standbys() and standby not in it.standbys(), "the third node does not stand by", TAKES, 0.1)
    standby.start_daemon()
    stream.wait_for_more(50)
    assert stream.broken is None and stream.jumps == []
    stream.close()
    it.check_latest()
    it.check_end([it.owner])


def test_it_ends_soon_though_nobody_answers(cluster):
    """A second is all that is spent on it; what was not promised is said."""
    it = Guarded(cluster, 95)
    first = it.owner
    cluster.cut(first, "nodes")
    begin = time.monotonic()
    assert first.kill_daemon(signal.SIGTERM) == 0
    assert time.monotonic() - begin < 1.0 + SOON
    it.wait_until_taken_over()
    it.check_committed()
    cluster.heal()
    first.start_daemon()
    said = first.events.wait("no_long_grant", "web", deadline=TAKES)
    assert "may be taken over from there" in said["text"]
    it.check_end([first, it.owner])
