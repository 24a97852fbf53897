"""A container that does not hold on its node goes to a standby, without a last capture and with all that is committed; what does not
hold there either is not sent to and fro."""

from moving import flag, flagged
from support.node import until
from taking_over import TAKES, Guarded

class Failing(Guarded):
    """`committed_states`: the newest three generations, the oldest first."""

    def __init__(self, lab, number):
        super().__init__(lab, number, restart={"max-restores": 50, "probation": "10s"})
        self.committed_states = []
        for _ in range(3):
            self.commit()
            self.committed_states.append(self.committed)
        self.since = {node.name: node.events.last_sequence() for node in lab.nodes.values()}

    def told(self, node, kind):
        return node.events.wait(kind, self.name, after=self.since[node.name], deadline=TAKES)

    def kinds(self, node):
        return [event["kind"] for event in node.events.of(self.name, self.since[node.name])]

    def dies(self):
        """Once, from outside, and it is seen to have."""
        after, _ = self.container.kill()
        self.container.wait_for_event("died", after, TAKES)

    def is_restored_here(self, times):
        until(lambda: self.kinds(self.owner).count("restored") == times, f"it is not restored for the {times}. time", TAKES)

    def goes_to(self, node):
        self.wait_until_taken_over(by=[node], since=self.monitor.now())


def test_a_node_that_cannot_restore_it_is_left(cluster):
    """CRIU ends there without a word, as it does where a kernel or a package has gone bad: no generation is to blame."""
    it = Failing(cluster, 130)
    source, target = it.owner, it.standbys()[0]
    flag(source, "fail-criu")
    it.dies()
    it.goes_to(target)
    assert it.state() == it.committed, "nothing is lost but what was not committed"
    assert "2 restores in a row" in it.told(source, "failing_over")["reason"]
    failed = it.told(target, "failed_over")
    assert f"node '{source.name}' could not keep it running" in failed["text"] and "2 restores in a row" in failed["reason"]
    assert 0 < failed["durations_ns"]["noticed"] < failed["durations_ns"]["restored"]
    there = until(lambda: (lambda told: told["recovery"]["outcome"] == "gone" and told)(source.ask("explain", "--here", it.name)),
                  "where it was, nobody can tell where it went")
    here = target.ask("explain", it.name)
    assert (here["recovery"]["scope"], here["recovery"]["outcome"], here["node"]) == ("container", "failed_over", target.name)
    assert [step["kind"] for step in there["recovery"]["steps"]].count("restore_failed") == 2
    assert "2 restores in a row" in there["recovery"]["decision"]
    assert it.kinds(source).count("restore_failed") == 2 and "passed_over" not in it.kinds(source)
    flag(source, "fail-criu", False)
    it.check_end([source, target])


def test_what_dies_again_and_again_goes_on_elsewhere_once(cluster):
    it = Failing(cluster, 131)
    source, target = it.owner, it.standbys()[0]
    it.dies()
    it.is_restored_here(1)
    it.dies()
    it.is_restored_here(2)
    it.dies()
    it.goes_to(target)
    assert it.state() == it.committed_states[0]
    assert "while on probation" in it.told(target, "failed_over")["reason"]
    # It fails there too: what it came with is blamed, and it does not go back.
    it.dies()
    it.told(target, "passed_over")
    until(lambda: it.status()["phase"] == "running", "it is not brought back", TAKES)
    assert it.record()["owner"] == target.name
    assert "failing_over" not in it.kinds(target)
    it.committed = it.latest = it.answers()
    it.check_end([source, target])


def test_a_standby_that_cannot_take_it_leaves_it_where_it_is(cluster):
    it = Failing(cluster, 132)
    source, target = it.owner, it.standbys()[0]
    flag(source, "fail-criu")
    flag(target, "fail-criu")
    flag(target, "hold-criu")
    it.dies()
    until(lambda: flagged(target, "criu-waits"), "the standby does not restore it", TAKES)
    assert it.status()["phase"] == "recovering"
    flag(source, "fail-criu", False)
    flag(target, "hold-criu", False)
    refused = it.told(source, "failover_failed")
    assert f"node '{target.name}' did not go on with it" in refused["text"] and refused["reason"]
    it.is_restored_here(1)
    assert it.state() == it.committed, "its state is kept, as long as there is any"
    flag(target, "fail-criu", False)
    it.check_end([source, target, source])  # the target has asked its peers where they stand

