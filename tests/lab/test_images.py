"""Images by their digest: made known on one node, run on another, fetched by those that stand by."""

import subprocess

import pytest
from lab_specs import PORT, address, lab_spec
from moving import wait_until_stood_by
from support.node import CommandFailed
from support.rootfs import make_rootfs


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("images") / "tools.tar")
    subprocess.run(["tar", "-C", make_rootfs("tools"), "-cf", path, "."], check=True)
    return path


def spec_of(name, number, digest):
    spec = lab_spec(name, number)
    spec["root-filesystem"] = {"image": digest}
    return spec


def run_from(node, spec, *arguments):
    return node.ask("run", node.write_spec(spec), *arguments)


def test_an_image_of_one_node_runs_on_another(cluster, archive):
    client = cluster.client()
    added = cluster.nodes[1].ask("image", "add", archive)
    assert added["source"] == archive
    assert cluster.nodes[1].ask("image", "add", archive)["digest"] == added["digest"], "once per content"
    spec = spec_of("counter", 90, added["digest"])
    spec["network"]["hosts"] = [{"address": address(91), "names": ["db", "shop-db"]}]
    spec["application"] = {"name": "shop", "sponsors": ["shop-db"]}
    run = run_from(cluster.nodes[1], spec, "--node", "node2")
    assert run["container"]["node"] == "node2"
    assert client.lines(address(90), PORT).ask("incr") == "1"
    status = wait_until_stood_by(cluster, "counter", node=cluster.nodes[3])
    assert (status["image_digest"], status["application"], status["sponsors"]) == (added["digest"], "shop", ["shop-db"])
    pid = status["init_pid"]
    hosts = cluster.nodes[2].execute("cat", f"/proc/{pid}/root/etc/hosts").stdout
    assert f"{address(91)} db shop-db\n" in hosts
    moved = cluster.nodes[1].ask("move", "counter", "node3")
    assert moved["to"] == "node3"
    assert client.lines(address(90), PORT).ask("incr") == "2"
    cluster.nodes[1].cli("rm", "counter", "--force", "--yes")


def test_what_no_node_has_is_refused_and_nothing_is_made(cluster):
    digest = "sha256:" + "5" * 64
    with pytest.raises(CommandFailed) as failed:
        run_from(cluster.nodes[1], spec_of("lost", 92, digest), "--node", "node2")
    assert failed.value.code == 4
    assert digest in failed.value.reply()["message"] and "image add" in failed.value.reply()["remedy"]
    assert "lost" not in [row["name"] for row in cluster.nodes[1].ask("list")["containers"]]


def test_a_node_that_is_not_there_is_refused(cluster, archive):
    digest = cluster.nodes[1].ask("image", "add", archive)["digest"]
    with pytest.raises(CommandFailed) as failed:
        run_from(cluster.nodes[1], spec_of("nowhere", 93, digest), "--node", "node9")
    assert "node9" in failed.value.reply()["message"]
    with pytest.raises(CommandFailed) as failed:
        cluster.nodes[1].cli("image", "add", archive, "--tag", "7", "--json")
    assert failed.value.code == 5
