"""A state that carries its own death: healthy wherever it is asked, and dead a moment after each restore. Whoever goes back to it
learns that, says so of the generation, and goes back behind it."""

import pytest
from component_specs import DB, Asked, component, http, spec_of
from specs import ipv4, make_spec
from support.components import Components
from support.node import until

SECTIONS = {"checkpoint": {"interval": "1h", "generations": 6}, "restart": {"probation": "1min", "max-restores": 10}}


class Alone(Components):
    """The same program without an agent."""

    def __init__(self, node, remove_after, name):
        spec = make_spec(name, "component.py", DB, **SECTIONS)
        super().__init__(node.client(), ipv4(spec))
        remove_after.append(name)
        self.container = node.run(spec)


def with_agent(node, remove_after, name):
    it = Asked(node, remove_after, spec_of(name, component("db", DB, probe=http(DB)), **SECTIONS))
    it.wait_for_states(db="running")
    return it


@pytest.mark.parametrize("poisoned", [1, 2])
@pytest.mark.parametrize("kind", [Alone, with_agent])
def test_the_newest_generation_that_is_not_poisoned_runs_in_the_end(node, remove_after, kind, poisoned):
    it = kind(node, remove_after, f"poisoned-{'alone' if kind is Alone else 'agent'}-{poisoned}")
    life = it.answers(DB)
    it.ask(DB, "incr")
    good = it.container.checkpoint()["generation"]["generation"]
    it.ask(DB, "poison")
    bad = []
    for _ in range(poisoned):
        it.ask(DB, "incr")
        bad.append(it.container.checkpoint()["generation"]["generation"])
    # A clock must have gone on by what nobody takes for a busy moment.
    until(lambda: it.container.inspect()["newest_committed"]["age_ns"] > 0.3e9, "the newest generation grows no older")
    after, _ = it.container.kill()
    restored = it.container.wait_for_event(lambda event: event["kind"] == "restored" and event["generation"] == good, after)
    tried = [event["generation"] for event in it.container.events(after) if event["kind"] == "restored"]
    assert tried == [*reversed(bad), good]
    assert (it.answers(DB), it.ask(DB, "get")) == (life, "1")
    events = it.container.events(after)
    passed_over = [event for event in events if event["kind"] == "passed_over" and event["sequence"] < restored["sequence"]]
    for generation in bad:
        assert any(f"generation {generation} is suspect" in event["text"] for event in passed_over), passed_over
    said = "exited with code 13" if kind is Alone else "failed with its component 'db', which exited with code 13"
    assert all(said in event["reason"] and "while on probation" in event["reason"] for event in passed_over), passed_over
    marks = {row["generation"]: row["bad"] for row in it.container.generations()}
    assert all(marks[generation] for generation in bad) and not marks[good]
    status = it.container.inspect()
    assert (status["phase"], status["restores"]) == ("running", poisoned + 1)
    # The poison would have acted by the time that this one is so old.
    it.container.checkpoint()
    until(lambda: it.container.inspect()["newest_committed"]["age_ns"] > 0.5e9, "the newest generation grows no older")
    assert "died" not in [event["kind"] for event in it.container.events(restored["sequence"])]
    assert (it.answers(DB), it.ask(DB, "get")) == (life, "1")
