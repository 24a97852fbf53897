"""What form_cluster() asks of which node, and that nodes without clusters are told apart from failures: against nodes that only
write down what they are asked."""

import json
import subprocess

import pytest

from perdure_lab import CommandFailed
from perdure_lab.cluster import NoCluster, form_cluster


class FakeNode:
    def __init__(self, lab, number):
        self.lab, self.number = lab, number
        self.name, self.address = f"node{number}", f"10.78.0.{number}"

    def ask(self, *arguments):
        self.lab.asked.append((self.name, " ".join(arguments)))
        return self.lab.answer(self, arguments)


class FakeLab:
    def __init__(self, nodes, witness=None):
        self.witness, self.asked = witness, []
        self.nodes = {number: FakeNode(self, number) for number in range(1, nodes + 1)}
        self.looked = 0

    def answer(self, node, arguments):
        if arguments[1] == "token":
            return {"token": "id.secret.print"}
        if arguments[1] != "status":
            return {}
        self.looked += 1
        late = "unreachable" if self.looked < 3 else "ready"
        return {"nodes": [{"name": one.name, "state": "witness" if one.number == self.witness else
                           late if one.number == 2 else "ready"} for one in self.nodes.values()]}


def failure(code, text):
    return CommandFailed(["cluster"], subprocess.CompletedProcess([], code, "", text))


def test_the_first_makes_it_and_the_others_join_with_its_token():
    lab = FakeLab(3, witness=3)
    said = []
    form_cluster(lab, said.append)
    assert lab.asked[:4] == [
        ("node1", "cluster init --node-name node1 --listen 10.78.0.1 --yes"),
        ("node1", "cluster token --uses 2"),
        ("node2", "cluster join 10.78.0.1 --token id.secret.print --node-name node2 --listen 10.78.0.2 --yes"),
        ("node3", "cluster join 10.78.0.1 --token id.secret.print --node-name node3 --listen 10.78.0.3 --yes --witness")]
    assert set(lab.asked[4:]) == {("node1", "cluster status")}
    assert lab.looked >= 3, "until all are ready"
    assert len(said) == 3


def test_one_node_needs_no_token():
    lab = FakeLab(1)
    form_cluster(lab)
    assert [what for _, what in lab.asked] == ["cluster init --node-name node1 --listen 10.78.0.1 --yes", "cluster status"]


OF_THE_DAEMON = json.dumps({"error": {"code": "failure", "message": "perdured 1 does not know this kind of request; ..."}})


@pytest.mark.parametrize("code, text", [(2, "perdure: 'cluster' is no command\n"), (1, OF_THE_DAEMON)])
def test_a_perdure_without_clusters_is_told_apart(code, text):
    lab = FakeLab(2)

    def refuse(*_):
        raise failure(code, text)
    lab.answer = refuse
    with pytest.raises(NoCluster):
        form_cluster(lab)


def test_any_other_failure_is_one():
    lab = FakeLab(2)

    def refuse(*_):
        raise failure(2, "perdure: cluster has no option --listen")
    lab.answer = refuse
    with pytest.raises(CommandFailed):
        form_cluster(lab)
