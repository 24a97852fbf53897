"""What tests of takeovers share: a counter that is captured only when it is told to, stood by on other nodes, with clients outside and a
monitor of the LAN, so that the state that comes back is known exactly, and who spoke when."""

import subprocess
import time

from cluster_tools import record, wait_until_etcd_survives_one
from cluster_tools import status as cluster_status
from lab_specs import PORT, address
from moving import copies, inspect, is_stood_by, spec_of, up, wait_until_stood_by
from support.node import CommandFailed, until

STEADY = 3.0     # seconds in which nothing has to happen: several times what a takeover takes
TAKES = 60.0     # the longest that one may take on a loaded machine
COMES_BACK = 90.0  # ... that a cluster takes to stand by again


class Guarded:
    """On node `owner` of the lab, stood by on `standbys` nodes. `sections`: of its specification."""

    def __init__(self, lab, number, owner=1, standbys=1, name="web", **sections):
        self.lab, self.number, self.name = lab, number, name
        self.owner = lab.nodes[owner]
        wait_until_etcd_survives_one([lab.nodes[n] for n in sorted(lab.nodes)[:3]])  # the managers of a lab
        self.client = lab.client()
        self.container = self.owner.run(spec_of(name, number, **{"checkpoint": {"interval": "1h", "standbys": standbys}, **sections}))
        self.standbys_wanted = standbys
        self.wait_until_protected(self.owner)
        self.term = self.status()["term"]
        self.monitor = lab.monitor(self.container, asking_from=self.client)
        self.monitor.wait_for_speaker(self.owner)
        self.latest = self.committed = None
        self.commit()

    # ---- Its state ----

    def lines(self):
        return self.client.lines(address(self.number), PORT)

    def state(self):
        """Count, count in its file, life, and what was noted."""
        lines = self.lines()
        try:
            return tuple(lines.ask(word) for word in ("get", "file", "pid", "noted"))
        finally:
            lines.close()

    def answers(self):
        """Its state, once it can be had."""
        def look():
            try:
                return self.state()
            except OSError:
                return None
        return until(look, "nobody answers", TAKES)

    def count(self, times=3):
        lines = self.lines()
        for _ in range(times):
            lines.ask("incr")
        lines.close()
        self.latest = self.state()

    def commit(self):
        """Counts, lets this be committed, and counts on: that is lost by whoever loses it."""
        self.count()
        self.container.checkpoint()
        self.committed = self.latest
        self.count()
        assert self.latest != self.committed

    def check_latest(self):
        assert self.state() == self.latest, f"nothing was taken back; committed was {self.committed}"

    def check_committed(self):
        assert self.state() == self.committed, f"the newest committed state; the latest was {self.latest}"

    # ---- Where it is ----

    def status(self, node=None):
        return inspect(self.lab, self.name, node or self.owner)

    def record(self):
        """As a majority of etcd has it, whatever a node believes that has not heard of it."""
        def look():
            for node in up(self.lab):
                try:
                    return record(node, self.name)
                except subprocess.SubprocessError:
                    pass
            return None
        return until(look, "no node has a majority of etcd", TAKES, 0.1)

    def standbys(self):
        """The nodes that may take over."""
        return [self.lab.nodes[int(row["node"].removeprefix("node"))] for row in self.status()["standbys"]
                if row["state"] == "ready"]

    def others(self):
        return [node for node in self.lab.nodes.values() if node is not self.owner]

    def wait_until_protected(self, node):
        seen = {}

        def look():
            try:
                seen.update(inspect(self.lab, self.name, node), error=None)
            except CommandFailed as failed:  # it is on its way to another node
                seen.update(error=str(failed))
                return False
            ready = [row for row in seen["standbys"] if row["state"] == "ready"]
            return seen["protection"]["state"] == "protected" and is_stood_by(seen) and len(ready) >= self.standbys_wanted
        try:
            until(look, "", COMES_BACK, 0.05)
        except TimeoutError:
            raise TimeoutError(f"'{self.name}' is not protected by {self.standbys_wanted} standbys: {seen}") from None

    def wait_until_taken_over(self, by=None, since=None):
        """... and that it runs there, under a higher term; from then on that is its owner."""
        nodes = by or self.others()
        name = self.monitor.wait_for_speaker(*nodes, since=since or 0, deadline=TAKES)
        self._is_owned_by(next(node for node in nodes if node.name == name))

    def wait_until_decided(self, standby):
        """Owner and standby do not hear each other, and both reach etcd: one of them has won there."""
        def is_decided():
            now = self.record()
            return now["owner"] != self.owner.name or standby.name not in now["standbys"]
        until(is_decided, "neither of the two acts", TAKES, 0.1)

    def wait_until_taken_over_or_not(self):
        """It runs somewhere, after a fault which owner and standby may both survive and of which both have learnt; returns whether
        another has it."""
        self.answers()
        name = self.record()["owner"]
        if name == self.owner.name:
            return False
        self._is_owned_by(next(node for node in self.lab.nodes.values() if node.name == name))
        return True

    def a_node_that_answers(self):
        return next(node for node in up(self.lab) if node.try_cli("list", timeout=20).returncode == 0)

    def _is_owned_by(self, node):
        seen = {}

        def look():
            try:
                seen.update(self.status(node))
            except CommandFailed as failed:  # it is announced before it is there
                seen.update(node=None, error=str(failed))
            return seen["node"] == node.name and seen["phase"] == "running" and seen["term"] > self.term
        try:
            until(look, "", TAKES, 0.05)
        except TimeoutError:
            raise TimeoutError(f"it is not owned by {node.name}: {seen}") from None
        self.owner, self.container, self.term = node, node.container(self.name), seen["term"]

    def took_over(self, node=None):
        """The event that tells of the takeover."""
        return (node or self.owner).events.wait("taken_over", self.name, deadline=TAKES)

    def stays(self, seconds=STEADY):
        """For so long nobody else speaks, and the record names the same owner in the same term."""
        before = self.monitor.path()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.monitor.path() == before
            time.sleep(0.1)
        now = self.record()
        assert (now["owner"], now["term"]) == (self.owner.name, self.term)

    def nobody_speaks(self, seconds=STEADY):
        """For so long; it does not from the beginning."""
        begin = self.monitor.now()
        while self.monitor.now() - begin < seconds * 1e9:
            assert self.monitor.path(begin) == []
            time.sleep(0.1)

    def falls_silent(self, node):
        """The node stops to speak for it, though it is asked."""
        def is_silent():
            last = max((frame.at for frame in self.monitor.frames() if frame.port == node.name), default=0)
            return time.monotonic_ns() - last > 1_000_000_000
        until(is_silent, f"{node.name} speaks still", TAKES, 0.1)

    # ---- The end of a test ----

    def heals(self):
        """Every node is up with its perdured and ready, and nothing is cut."""
        self.lab.heal()
        for node in self.lab.nodes.values():
            if node.describe()["state"] == "down":
                node.boot()
            elif not node.daemon_runs():
                node.start_daemon()
        until(lambda: all(row["state"] in ("ready", "cordoned") for row in cluster_status(self.owner)["nodes"]),
              "not all nodes are ready", COMES_BACK, 0.1)

    def check_end(self, path=None, since=0):
        """All is as it ought to be once everything is healed. `path`: who has spoken since then, one after the other; without it
        nobody has spoken again."""
        self.heals()
        self.wait_until_protected(self.owner)
        number = self.owner.number
        until(lambda: copies(self.lab, self.name) == {number: False}, f"not on node {number} alone: {copies(self.lab, self.name)}",
              COMES_BACK)
        self.commit()
        self.check_latest()
        self.monitor.close()
        self.monitor.assert_single_speaker(path, since)
        self.owner.cli("rm", "--force", "--yes", self.name)


def wait_until_stood_by_others(guarded, nodes):
    """... than it was: all of these nodes are ready."""
    wait_until_stood_by(guarded.lab, guarded.name, [node.name for node in nodes], guarded.owner)
