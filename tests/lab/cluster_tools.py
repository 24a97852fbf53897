"""What the tests of clusters ask of the nodes of a lab, and of its etcd behind their backs."""

import json
import os
import subprocess

from support.rootfs import TOP
from perdure_lab import CommandFailed
from perdure_lab.host import until

LONG = 60.0
SETTLED = 120.0  # seconds that a container may take to be protected again after its host died


def init(node, *options):
    return node.ask("cluster", "init", "--node-name", node.name, "--listen", node.address, "--yes", *options)


def token(node, *options):
    return node.ask("cluster", "token", *options)["token"]


def join(node, at, its_token, *options):
    return node.ask("cluster", "join", at.address, "--token", its_token, "--node-name", node.name, "--listen",
                    node.address, "--yes", *options)


def leave(node):
    return node.ask("cluster", "leave", "--force", "--yes")


def refusal(function, *arguments):
    """The message of a command that fails."""
    try:
        function(*arguments)
    except CommandFailed as failed:
        return failed.reply()["message"]
    raise AssertionError(f"{function.__name__}{arguments} was not refused")


def status(node):
    """`cluster status` exits with another code when there is no quorum."""
    result = node.try_cli("cluster", "status", "--json")
    if result.returncode not in (0, 8):
        raise CommandFailed(["cluster", "status"], result)
    return json.loads(result.stdout)


def in_no_cluster(node):
    result = node.try_cli("cluster", "status", "--json")
    return result.returncode == 4 and "in no cluster" in result.stderr


def rows(node):
    return {row["name"]: row for row in status(node)["nodes"]}


def states(node):
    return {name: row["state"] for name, row in rows(node).items()}


def wait_for_states(node, wanted, deadline=LONG):
    seen = {}

    def reached():
        seen.update(now=states(node))
        return seen["now"] == wanted
    try:
        until(reached, "", deadline, 0.05)
    except TimeoutError:
        raise TimeoutError(f"{node.name} sees {status(node)} instead of {wanted}") from None


def etcdctl(node, *arguments):
    directory = os.path.join(node.state, "cluster")
    return subprocess.run(
        node.argv(["etcdctl", "--endpoints", f"https://{node.address}:7401", "--cacert", f"{directory}/authority.crt",
                   "--cert", f"{directory}/node.pem", "--key", f"{directory}/node.pem", *arguments]),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, timeout=LONG, env={**os.environ, "ETCDCTL_API": "3"}).stdout


def members(node):
    """{name: "voter" or "learner"} of etcd; {} while it does not answer."""
    try:
        lines = etcdctl(node, "member", "list", "-w", "simple").decode().splitlines()
    except subprocess.CalledProcessError:
        return {}
    parts = [line.split(", ") for line in lines]
    return {part[2]: "learner" if part[5] == "true" else "voter" for part in parts}


def wait_for_members(node, names, deadline=LONG):
    wanted = {name: "voter" for name in names}
    seen = {}

    def reached():
        seen.update(now=members(node))
        return seen["now"] == wanted
    try:
        until(reached, "", deadline, 0.1)
    except TimeoutError:
        raise TimeoutError(f"etcd has the members {seen['now']} instead of {wanted}:\n"
                           f"{etcd_log(node)}") from None


def wait_until_etcd_survives_one(nodes, deadline=LONG):
    """All of these are voters, and each answers after having asked a majority: any of them may die now."""
    wait_for_members(nodes[0], [node.name for node in nodes], deadline)

    def answers(node):
        try:
            etcdctl(node, "endpoint", "health")
            return True
        except subprocess.CalledProcessError:
            return False
    for node in nodes:
        until(lambda node=node: answers(node), f"etcd of {node.name} has no majority:\n{etcd_log(node)}", deadline, 0.1)


def wait_until_settled(lab, owner, name, standbys=1, deadline=SETTLED):
    """Every node is ready, `name` is protected on `owner` by so many standbys, and any one host may die; returns the numbers of
    the nodes that stand by."""
    seen = {}

    def settled():
        it = owner.container(name).inspect()
        seen.update(nodes=states(owner), phase=it["phase"], owner=it["node"], protection=it["protection"],
                    standbys={row["node"]: row["state"] for row in it["standbys"]})
        return (list(seen["nodes"].values()) == ["ready"] * len(lab.nodes) and seen["protection"]["state"] == "protected" and
                seen["phase"] == "running" and seen["owner"] == owner.name and
                list(seen["standbys"].values()).count("ready") >= standbys)
    try:
        until(settled, "", deadline, 0.1)
    except TimeoutError:
        raise TimeoutError(f"'{name}' is not protected by {standbys} on {owner.name} after {deadline:.0f} s: {json.dumps(seen)}") from None
    wait_until_etcd_survives_one(list(lab.nodes.values()), deadline)
    return [int(node.removeprefix("node")) for node, state in seen["standbys"].items() if state == "ready"]


def wait_for_new_owner(lab, name, dead, deadline=LONG):
    """The node that runs it after its host has died."""
    def owner():
        for node in lab.nodes.values():
            if node is not dead:
                row = next((row for row in node.ask("list")["containers"] if row["name"] == name), None)
                if row and row["node"] not in (None, "", dead.name) and row["phase"] == "running":
                    return row["node"]
        return None
    found = until(owner, f"nobody takes '{name}' over from {dead.name}", deadline, 0.05)
    return lab.nodes[int(found.removeprefix("node"))]


def timing_in_force(node):
    """(heartbeat, grant, margin) in ns."""
    timing = node.ask("cluster", "status")["timing"]
    return timing["heartbeat_ns"], timing["grant_ns"], timing["margin_ns"]


def change_timing(lab, node, timing, wanted, deadline=LONG):
    """`cluster timing` on a node, until it is in force on all."""
    node.cli("cluster", "timing", timing)
    for each in lab.nodes.values():
        until(lambda each=each: timing_in_force(each) == wanted, f"{each.name} has {timing_in_force(each)}, not {wanted}", deadline, 0.05)


def etcd_log(node):
    try:
        with open(os.path.join(node.state, "etcd.log")) as file:
            text = file.read()
        # Why an earlier process of it ended: zap's level, or capnslog's "C" for critical.
        fatal = [line for line in text.splitlines() if '"level":"fatal"' in line or " C | " in line]
        return "\n".join([*fatal[-5:], text[-2000:]])
    except OSError as error:
        return str(error)


def etcd_leader(lab, numbers):
    """The number of the node whose member leads."""
    for number in numbers:
        line = etcdctl(lab.nodes[number], "endpoint", "status", "-w", "fields").decode()
        fields = dict(part.split(" : ", 1) for part in line.splitlines() if " : " in part)
        if fields['"MemberID"'] == fields['"Leader"']:
            return number
    raise AssertionError("etcd has no leader")


def record(node, name):
    """A container's record as etcd has it: {"term", "owner", "incarnation", "standbys": {node: incarnation}}."""
    value = etcdctl(node, "get", "--print-value-only", f"/perdure/1/containers/{name}")[:-1]
    text = subprocess.run(["protoc", f"--proto_path={TOP}/proto", "--decode=perdure.cluster.v1.ContainerRecord",
                           "cluster.proto"], input=value, stdout=subprocess.PIPE, check=True).stdout.decode()
    return parse_record(text)


def parse_record(text):
    found = {"standbys": {}}
    block, names = None, {}
    for line in text.splitlines():
        line = line.strip()
        if line.endswith("{"):
            block, names = line.split()[0], {}
        elif line == "}":
            one = (names["name"].strip('"'), int(names.get("incarnation", 0)))
            if block == "owner":
                found["owner"], found["incarnation"] = one
            elif block == "standbys":
                found["standbys"][one[0]] = one[1]
            block = None
        elif ": " in line:
            key, value = line.split(": ", 1)
            if block:
                names[key] = value
            elif key == "term":
                found["term"] = int(value)
    return found


def etcd_pid(node):
    """Of the member on the node, as this process sees it."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if os.path.basename(words[0]) == b"etcd" and f"--data-dir={node.state}/etcd".encode() in words:
            return int(pid)
    raise AssertionError(f"no etcd of {node.name}")


def standby_of(container):
    """The node of a standby that is ready, or None."""
    ready = [row["node"] for row in container.inspect()["standbys"] if row["state"] == "ready"]
    return ready[0] if ready else None


def wait_for_standby(container, node=None, deadline=LONG):
    """... and that the container is protected by it; the name of its node."""
    container.wait_until(lambda it: any(row["state"] == "ready" and row["node"] == (node or row["node"])
                                        for row in it["standbys"]) and it["protection"]["state"] == "protected",
                         f"has no standby on {node or 'any node'}", deadline)
    return standby_of(container)
