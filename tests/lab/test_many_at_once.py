"""A node dies that owned many containers. All are taken over, those that can be missed for the shortest time first, and no node restores
more at once than it may; each container is seen on one node at a time, in its newest committed state."""

import random

import pytest
from lab_specs import PORT, address
from moving import is_stood_by, inspect, spec_of
from support.node import until
from taking_over import COMES_BACK, TAKES

MANY = 20
AT_ONCE = 2
TOLERANCES = ["250ms", "1s", "5s", None, "1min"]  # None: nothing is said, which is 10 s
SECONDS = {"250ms": 0.25, "1s": 1, "5s": 5, None: 10, "1min": 60}
NEAR_NS = 5_000_000  # heartbeats of one node's containers are answered within this time


@pytest.fixture
def three(make_lab):
    return make_lab(nodes=3, cluster=True, options=["--parallel-restores", str(AT_ONCE), "--log-level", "debug"])


class Small:
    """One of many on node 1."""

    def __init__(self, lab, number, tolerance):
        self.lab, self.number, self.tolerance = lab, number, SECONDS[tolerance]
        self.name = f"web{number}"
        said = {} if tolerance is None else {"availability": {"outage-tolerance": tolerance}}
        self.container = lab.nodes[1].run(spec_of(self.name, number, "counter.py", 1, **said))
        self.monitor = lab.monitor(self.container)

    def count(self, client):
        lines = client.lines(address(self.number), PORT)
        self.counted = lines.ask("incr")
        lines.close()

    def counts(self, client):
        lines = client.lines(address(self.number), PORT)
        try:
            return lines.ask("get")
        finally:
            lines.close()

    def is_protected(self):
        seen = inspect(self.lab, self.name, self.lab.nodes[1])
        return seen["protection"]["state"] == "protected" and is_stood_by(seen)


def most_at_once(spans):
    """Of (begin, end), without what is nearer to an end than can be told."""
    changes = sorted((at, change) for begin, end in spans for at, change in ((begin + NEAR_NS, 1), (end - NEAR_NS, -1)))
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def test_those_that_can_be_missed_least_are_restored_first(three):
    client = three.client()
    tolerances = TOLERANCES * (MANY // len(TOLERANCES))
    random.Random(5).shuffle(tolerances)
    those = [Small(three, 60 + i, tolerance) for i, tolerance in enumerate(tolerances)]
    for one in those:
        one.count(client)
        one.container.checkpoint()
    for one in those:
        until(one.is_protected, f"{one.name} is not protected", COMES_BACK, 0.1)
    others = [three.nodes[2], three.nodes[3]]
    after = {node.number: node.events.last_sequence() for node in others}
    three.nodes[1].kill()

    late = three.client()  # it asks who has the addresses
    taken = {}
    for one in those:
        name = one.monitor.wait_for_speaker(*others, deadline=TAKES)
        node = next(node for node in others if node.name == name)
        taken.setdefault(node.number, []).append((one, node.events.wait("taken_over", one.name, after[node.number], TAKES)))
        until(lambda one=one: inspect(three, one.name, node)["phase"] == "running", f"{one.name} does not run", TAKES)
        assert one.counts(late) == one.counted
    for number, theirs in taken.items():
        node = three.nodes[number]
        tolerance = {one.name: one.tolerance for one, _ in theirs}
        waited = [event["container"] for event in node.events.of(after=after[number]) if event["kind"] == "takeover_turn"]
        assert len(waited) >= len(theirs) - AT_ONCE, "more began at once than may"
        assert [tolerance[name] for name in waited] == sorted(tolerance[name] for name in waited), waited
        at_once = [one.tolerance for one, _ in theirs if one.name not in waited]
        assert max(at_once) <= min((tolerance[name] for name in waited), default=60), (at_once, waited)
        spans = [(event["durations_ns"]["begun"], event["durations_ns"]["restored"]) for _, event in theirs]
        assert most_at_once(spans) <= AT_ONCE, sorted(spans)
        told = [event for event in node.events.of(after=after[number]) if event["kind"] == "takeover_waits"]
        assert {event["container"] for event in told} == set(waited)
        assert all("waits for its turn" in event["text"] for event in told)
    for one in those:
        one.monitor.close()
        assert len(one.monitor.path()) == 2, one.monitor.speakers()
        one.monitor.assert_single_speaker()
