"""Makes one cluster of the nodes of a lab."""

import json

from .host import DEADLINE, CommandFailed, until

# What a perdure, or a perdured, without these commands says (cli/parse.cc, node/control_requests.cc).
_KNOWS_NOT = ("'cluster' is no command", "does not know this kind of request")


class NoCluster(Exception):
    """This perdured has no clusters; the nodes stand alone."""


def _ask(node, *arguments):
    try:
        return node.ask("cluster", *arguments)
    except CommandFailed as failed:
        if any(words in failed.error for words in _KNOWS_NOT):
            raise NoCluster(failed.error.splitlines()[0]) from None
        raise


def _states(node):
    answer = _ask(node, "status")
    rows = answer["nodes"] if "nodes" in answer else answer["cluster"]["nodes"]
    return {row["name"]: row["state"] for row in rows}


def form_cluster(lab, say=lambda text: None, init=()):
    """Node 1 begins it (`init`: more options of `cluster init`), the others join; returns when node 1 calls all of them
    ready. Raises NoCluster, CommandFailed, TimeoutError."""
    first, *others = (lab.nodes[number] for number in sorted(lab.nodes))
    _ask(first, "init", "--node-name", first.name, "--listen", first.address, "--yes", *init)
    say(f"{first.name} has made a cluster")
    token = _ask(first, "token", "--uses", str(len(others)))["token"] if others else None
    for node in others:
        witness = ["--witness"] if node.number == lab.witness else []
        _ask(node, "join", first.address, "--token", token, "--node-name", node.name, "--listen", node.address,
             "--yes", *witness)
        say(f"{node.name} has joined" + (" as a witness" if witness else ""))

    states = {}

    def all_are_ready():
        states.update(_states(first))
        return all(states.get(node.name) == ("witness" if node.number == lab.witness else "ready")
                   for node in lab.nodes.values())
    try:
        until(all_are_ready, "not all nodes are ready", DEADLINE, 0.1)
    except TimeoutError as late:
        raise TimeoutError(f"{late}: {json.dumps(states)}") from None
