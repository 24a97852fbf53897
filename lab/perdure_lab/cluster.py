"""Makes one cluster of the nodes of a lab."""

import json

from .host import DEADLINE, CommandFailed, until

_KNOWS_NOT = ("usage", "unsupported")  # names of errors: of a perdure, or a perdured, without these commands


class NoCluster(Exception):
    """This perdured has no clusters; the nodes stand alone."""


def _ask(node, *arguments):
    try:
        return node.ask("cluster", *arguments)
    except CommandFailed as failed:
        try:
            known_as = failed.reply()["code"]
        except (ValueError, KeyError, IndexError, TypeError):
            known_as = "usage" if failed.code == 2 else ""
        if known_as in _KNOWS_NOT:
            raise NoCluster(failed.error.splitlines()[0]) from None
        raise


def _states(node):
    answer = _ask(node, "status")
    rows = answer["nodes"] if "nodes" in answer else answer["cluster"]["nodes"]
    return {row["name"]: row["state"] for row in rows}


def form_cluster(lab, say=lambda text: None):
    """Node 1 begins it, the others join; returns when node 1 calls all of them ready. Raises NoCluster, CommandFailed,
    TimeoutError."""
    first, *others = (lab.nodes[number] for number in sorted(lab.nodes))
    _ask(first, "init", "--node-name", first.name, "--listen", first.address, "--yes")
    say(f"{first.name} has made a cluster")
    token = _ask(first, "token")["token"] if others else None
    for node in others:
        witness = ["--witness"] if node.number == lab.witness else []
        _ask(node, "join", first.address, "--token", token, "--node-name", node.name, "--listen", node.address, *witness)
        say(f"{node.name} has joined" + (" as a witness" if witness else ""))

    def all_are_ready():
        states = _states(first)
        return all(states.get(node.name) == ("witness" if node.number == lab.witness else "ready")
                   for node in lab.nodes.values())
    until(all_are_ready, f"not all nodes are ready: {json.dumps(_states(first))}", DEADLINE, 0.1)
