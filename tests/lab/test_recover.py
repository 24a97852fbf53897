"""What comes back after losses that a cluster does not mend by itself, with real etcd, runc and CRIU: the owner's host alone, the
power of all hosts, the quorum of etcd for good. A container's count in memory tells which generation it went back to; the owner's
durable directory is put back to an older state, so that what a standby's memory holds is more than what a disk holds."""

import json
import os
import shutil
import signal

from lab_specs import PORT, address, lab_spec
from moving import processes
from support.node import until

ON_DEMAND = {"interval": "1h"}  # generations are taken when a test asks for them, and when a container begins


def cluster_of(node):
    """Also without a quorum, which the exit code tells."""
    return json.loads(node.try_cli("cluster", "status", "--json").stdout)


def voters_of(node):
    """The members of etcd, as that node's own member has them."""
    files = os.path.join(node.state, "cluster")
    result = node.execute("etcdctl", "--endpoints", f"https://{node.address}:7401", "--cacert", f"{files}/authority.crt",
                          "--cert", f"{files}/node.pem", "--key", f"{files}/node.pem", "member", "list", "-w", "json", check=False)
    members = json.loads(result.stdout)["members"] if result.returncode == 0 else []
    return {member.get("name") for member in members if not member.get("isLearner")}


def standby_of(lab, node, name):
    """The node that stands by, when there is one."""
    def ready():
        return [one["node"] for one in node.ask("inspect", name)["container"]["standbys"] if one["state"] == "ready"]
    return lab.nodes[int(until(ready, f"{name} gets no standby")[0].removeprefix("node"))]


class Counter:
    """A container on `node` whose standby holds a later count than the node's disk."""

    def __init__(self, lab, node, name, number, tmp_path):
        self.lab, self.node, self.number, self.name = lab, node, number, name
        self.container = node.run(lab_spec(name, number, checkpoint=ON_DEMAND))
        self.standby = standby_of(lab, node, name)
        self.client = lab.client()
        self.old = self._count()
        self.old_generation = self.container.checkpoint()["generation"]["generation"]
        until(lambda: self._is_durable(self.old_generation), "the generation does not become durable")
        self.capsules = os.path.join(node.state, "capsules", name)
        self.copy = str(tmp_path / f"{name}-capsules")
        shutil.copytree(self.capsules, self.copy, ignore=shutil.ignore_patterns("*.tmp"))
        self.new = self._count()
        self.new_generation = self.container.checkpoint()["generation"]["generation"]
        assert self.new[0] != self.old[0]

    def _is_durable(self, generation):
        rows = self.node.ask("generations", self.name)["generations"]
        return any(row["generation"] == generation and row["durable"] for row in rows)

    def _count(self):
        lines = self.client.lines(address(self.number), PORT)
        value, life = [lines.ask("incr") for _ in range(5)][-1], lines.ask("pid")
        lines.close()
        return value, life

    def put_disk_back(self):
        shutil.rmtree(self.capsules)
        shutil.copytree(self.copy, self.capsules)

    def answers(self):
        try:
            return self.state()
        except OSError:
            return None

    def state(self):
        lines = self.client.lines(address(self.number), PORT)
        try:
            return lines.ask("get"), lines.ask("pid")
        finally:
            lines.close()


def row_of(reply, name):
    return next(row for row in reply["containers"] if row["name"] == name)


def test_an_owner_whose_host_was_booted_goes_on_from_its_standbys_memory(make_lab, tmp_path):
    lab = make_lab(nodes=3, cluster=True)
    counter = Counter(lab, lab.nodes[1], "kept", 50, tmp_path)
    counter.node.kill()
    counter.put_disk_back()
    counter.node.boot()
    status = counter.container.wait_until(lambda s: s["last_restore"], "is not restored")
    assert status["last_restore"]["generation"] == counter.new_generation
    counter.container.wait_until_protected()
    assert counter.state() == counter.new
    assert standby_of(lab, counter.node, "kept")
    assert counter.container.checkpoint()


def test_after_a_power_cut_of_all_an_operator_says_what_is_gone_back_to(make_lab, tmp_path):
    lab = make_lab(nodes=3, cluster=True)
    counter = Counter(lab, lab.nodes[1], "cut", 51, tmp_path)
    for node in lab.nodes.values():
        node.kill()
    counter.put_disk_back()
    for node in lab.nodes.values():
        node.boot()
    status = counter.container.wait_until(lambda s: "no standby holds its memory" in (s["phase_reason"] or ""),
                                          "does not wait for a word")
    assert f"going back to generation {counter.old_generation}" in status["phase_reason"]
    # Neither another start of perdured nor time changes that, though its lost standby has left the record.
    standby_was = counter.standby.name
    until(lambda: standby_was not in [one["node"] for one in counter.container.inspect()["standbys"]
                                      if one["state"] == "ready"], "the lost standby counts still")
    counter.node.kill_daemon()
    counter.node.start_daemon()
    counter.container.wait_until(lambda s: "no standby holds its memory" in (s["phase_reason"] or ""),
                                 "does not wait for a word after another start")
    plan = row_of(lab.nodes[2].ask("cluster", "recover"), "cut")
    assert (plan["action"], plan["node"], plan["generation"]) == ("restore", "node1", counter.old_generation)
    assert plan["age_ns"] > 0
    assert "is lost" in plan["risk"]
    assert counter.container.inspect()["init_pid"] is None, "a look changes nothing"
    done = row_of(lab.nodes[2].ask("cluster", "recover", "--apply", "--yes"), "cut")
    assert done["done"] and not done["error"]
    assert counter.state() == counter.old
    counter.container.wait_until_protected()
    assert row_of(lab.nodes[3].ask("cluster", "recover"), "cut")["action"] == "nothing"


def test_a_quorum_that_is_lost_for_good_is_replaced_by_the_member_that_is_left(make_lab, tmp_path):
    lab = make_lab(nodes=3, cluster=True)
    until(lambda: voters_of(lab.nodes[1]) == {"node1", "node2", "node3"}, "etcd has no three voting members")
    counter = Counter(lab, lab.nodes[1], "orphan", 52, tmp_path)
    survivor = counter.standby
    dead = [node for node in lab.nodes.values() if node is not survivor]
    lab.kill(*dead)  # at once: a majority that is left for a moment would let the survivor take over
    until(lambda: not cluster_of(survivor)["has_quorum"], "etcd still answers")
    until(lambda: all(row["state"] == "unreachable" for row in cluster_of(survivor)["nodes"] if not row["self"]),
          "the dead nodes are not noticed")
    plan = survivor.ask("cluster", "recover")
    assert "has no quorum" in plan["etcd"] and "--force-new-cluster" in plan["etcd"]
    row = row_of(plan, "orphan")
    assert (row["action"], row["node"], row["generation"]) == ("restore", survivor.name, counter.new_generation)
    assert "node 'node1' may still run it beyond a cut" in row["risk"]
    refused = survivor.try_cli("cluster", "recover", "--apply", "--yes")
    assert refused.returncode != 0 and "no quorum" in refused.stderr
    assert "copied aside" in survivor.ask("cluster", "recover", "--force-new-cluster")["etcd"]
    done = survivor.ask("cluster", "recover", "--force-new-cluster", "--apply", "--yes")
    assert "goes on alone" in done["etcd"]
    # With a majority the survivor takes over by itself as well: whoever is first, it is from the same generation.
    until(counter.answers, f"it is not back: {done}")
    assert counter.state() == counter.new
    assert cluster_of(survivor)["has_quorum"]
    for node in dead:
        survivor.ask("node", "remove", node.name, "--yes", "--force")
    status = cluster_of(survivor)
    assert [row["name"] for row in status["nodes"]] == [survivor.name]
    until(lambda: voters_of(survivor) == {survivor.name}, "dead members stay")
    assert survivor.container("orphan").inspect()["node"] == survivor.name
    assert survivor.try_cli("cluster", "recover", "--force-new-cluster", "--apply", "--yes").returncode != 0


def test_what_is_not_done_is_refused(lab):
    """On nodes that are in no cluster."""
    refused = lab.nodes[1].try_cli("cluster", "recover")
    assert refused.returncode != 0 and "in no cluster" in refused.stderr


def test_etcd_is_made_anew_from_a_snapshot_and_what_it_does_not_know_is_asked_of_the_nodes(make_lab, tmp_path):
    lab = make_lab(nodes=3, cluster=True)
    one, two, three = lab.nodes.values()
    until(lambda: voters_of(one) == {"node1", "node2", "node3"}, "etcd has no three voting members")
    moved = Counter(lab, one, "moved", 53, tmp_path)
    files = os.path.join(one.state, "cluster")
    snapshot = str(tmp_path / "etcd.db")
    one.execute("etcdctl", "--endpoints", f"https://{one.address}:7401", "--cacert", f"{files}/authority.crt", "--cert",
                f"{files}/node.pem", "--key", f"{files}/node.pem", "snapshot", "save", snapshot)
    # Later than the snapshot: another owner, and a container that it does not know.
    one.ask("move", "moved", "node2")
    made = Counter(lab, one, "made", 54, tmp_path)
    stopped = one.run(lab_spec("stopped", 55, checkpoint=ON_DEMAND))
    one.ask("stop", "stopped")

    members = [pid for node in lab.nodes.values() for pid in processes(node, "etcd")]
    for node in lab.nodes.values():
        node.kill_daemon(signal.SIGTERM)
    for pid in members:
        os.kill(pid, signal.SIGKILL)
    for node in lab.nodes.values():
        shutil.rmtree(os.path.join(node.state, "etcd"))
        node.start_daemon()
    until(lambda: not cluster_of(two)["has_quorum"], "etcd answers")
    until(lambda: all(row["state"] == "ready" or row["self"] for row in cluster_of(two)["nodes"]), "the nodes are not connected")
    plan = two.ask("cluster", "recover", "--from-snapshot", snapshot)
    assert "would be made anew" in plan["etcd"] and not plan["applied"]
    damaged = str(tmp_path / "damaged.db")
    with open(snapshot, "rb") as file, open(damaged, "wb") as copy:
        copy.write(file.read()[:-40])
    refused = two.try_cli("cluster", "recover", "--from-snapshot", damaged, "--apply", "--yes")
    assert refused.returncode != 0 and "restore etcd from" in refused.stderr, refused.stderr

    done = two.ask("cluster", "recover", "--from-snapshot", snapshot, "--apply", "--yes")
    assert "was made anew" in done["etcd"]
    rows = {name: row_of(done, name) for name in ("moved", "made", "stopped")}
    assert all(row["done"] and not row["error"] for row in rows.values()), done
    assert (rows["moved"]["node"], rows["made"]["node"], rows["stopped"]["node"]) == ("node2", "node1", "node1")
    assert (moved.state(), made.state()) == (moved.new, made.new), "they have run on"
    until(lambda: voters_of(two) == {"node1", "node2", "node3"}, "etcd has no three voting members again")
    for counter, node in ((moved, two), (made, one)):
        assert standby_of(lab, node, counter.name)
    three.ask("move", "moved", "node3")
    assert moved.state() == moved.new
    one.ask("start", "stopped")
    stopped.wait_until_protected()
    assert {row["action"] for row in two.ask("cluster", "recover")["containers"]} == {"nothing"}
