"""Applications from their models: planned, built, started in order, changed and removed on a real cluster."""

import json
import os

import pytest
from lab_specs import PORT
from moving import wait_until_stood_by
from support.node import CommandFailed, until
from support.rootfs import make_rootfs

TAKES = 60.0
ADDRESSES = "10.78.0.60-10.78.0.69/24"


def python(*command):
    return ["/usr/bin/python3", "-u", *map(str, command)]


def model(directory, **changes):
    """A stateless server that requires a stateful counter; the server is a file of its own over the image."""
    server = os.path.join(directory, "server.py")
    with open(server, "w") as file:
        file.write(changes.get("server", SERVER))
    base = {"directory": make_rootfs("tools")}
    value = {
        "application": "shop",
        "network": {"bridge": "br0", "addresses": [ADDRESSES]},
        "components": [
            {"name": "web", "artefact": {**base, "files": [{"from": server, "to": "/srv/server.py"}]}, "command": python("/srv/server.py"),
             "provides": [{"name": "site", "port": PORT}],
             "requires": [{"interface": "count", "outage-tolerance": "30s", **changes.get("dependency", {})}],
             "probe": {"tcp": PORT, "interval": "100ms"}},
            {"name": "counter", "artefact": base, "command": python("/app/counter.py", 8),
             "provides": [{"name": "count", "port": PORT, "state": "stateful", "state-sensitivity": "200ms"}],
             "probe": {"tcp": PORT, "interval": "100ms"}, "environment": {"HOME": "/root", **changes.get("environment", {})},
             "resources": {"memory": "64MiB"}},
        ],
    }
    path = os.path.join(directory, "shop.yaml")
    with open(path, "w") as file:
        json.dump(value, file, indent=1)
    return path


# Passes each line on to the counter, which it finds by its name.
SERVER = """
import socket, threading
def serve(client):
    with client, socket.create_connection(("counter", %d)) as counter:
        lines = counter.makefile("r")
        for line in client.makefile("r"):
            counter.sendall(line.encode())
            client.sendall(lines.readline().encode())
server = socket.create_server(("", %d), backlog=16)
while True:
    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
""" % (PORT, PORT)


@pytest.fixture
def shop(cluster, tmp_path):
    class Shop:
        nodes = cluster.nodes
        directory = str(tmp_path)

        def command(self, *arguments, node=1):
            return cluster.nodes[node].try_cli(*arguments, env={**os.environ, "PERDURE_CACHE": str(tmp_path / "cache")})

        def rows(self):
            return {row["name"]: row for row in cluster.nodes[1].ask("list")["containers"] if row["application"] == "shop"}
    yield Shop()
    cluster.nodes[1].try_cli("delete", "shop", "--yes")


def address_of(row):
    return row["addresses"][0].split("/")[0]


def test_an_application_is_planned_started_changed_and_removed(cluster, shop):
    path = model(shop.directory)
    plan = shop.command("plan", path)
    assert plan.returncode == 0, plan.stderr
    assert "shop: 2 containers on 3 nodes" in plan.stdout and "If one of these fails" in plan.stdout
    assert not shop.rows(), "a plan changes nothing"

    refused = shop.command("apply", path)
    assert refused.returncode == 6 and not shop.rows(), "nobody agreed"

    applied = shop.command("apply", path, "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert [line.split(":")[0] for line in applied.stdout.splitlines()] == ["shop-counter", "shop-web"], "the sponsor is first"
    rows = shop.rows()
    assert {name: row["sponsors"] for name, row in rows.items()} == {"shop-counter": [], "shop-web": ["shop-counter"]}
    assert all(component["state"] == "running" for row in rows.values() for component in row["components"])
    assert all([standby["state"] for standby in row["standbys"]] == ["ready"] for row in rows.values())
    planned = {line.split()[0]: line.split()[2:4] for line in plan.stdout.splitlines() if line.startswith("shop-") and ":" not in line.split()[0]}
    assert {name: [row["node"], row["standbys"][0]["node"]] for name, row in rows.items()} == planned
    assert rows["shop-counter"]["reserved_memory_bytes"] == 64 << 20
    client = cluster.client()
    assert client.lines(address_of(rows["shop-web"]), PORT).ask("incr") == "1"

    status = shop.command("status", "shop", node=3)
    assert status.returncode == 0 and status.stdout.startswith("shop: all is well"), status.stdout
    assert {"web", "counter"} <= {line.split()[0] for line in status.stdout.splitlines() if line}

    assert "nothing would change" in shop.command("diff", path).stdout
    assert shop.command("diff", path).returncode == 0
    again = shop.command("apply", path, "--yes")
    assert again.returncode == 0 and "nothing was changed" in again.stdout

    path = model(shop.directory, server=SERVER + "# another one\n")
    differs = shop.command("diff", path)
    assert differs.returncode == 8
    assert "! shop-web" in differs.stdout and "root-filesystem.image" in differs.stdout and "shop-counter" not in differs.stdout
    changed = shop.command("apply", path, "--yes")
    assert changed.returncode == 0, changed.stdout + changed.stderr
    assert changed.stdout.splitlines()[0] == "shop-web: removed"
    after = shop.rows()
    assert after["shop-counter"]["init_pid"] == rows["shop-counter"]["init_pid"], "it was left alone"
    assert address_of(after["shop-web"]) == address_of(rows["shop-web"])
    assert client.lines(address_of(after["shop-web"]), PORT).ask("incr") == "2"

    deleted = shop.command("delete", "shop", "--yes", node=2)
    assert deleted.stdout.splitlines() == ["shop-web: removed", "shop-counter: removed"]
    assert not shop.rows()
    assert shop.command("delete", "shop", "--yes").returncode == 4


def test_what_has_to_be_close_follows_what_it_depends_on(cluster, shop):
    """Closer than a rack: on one host. Its sponsor's place is what counts, also against an operator's word about its own."""
    path = model(shop.directory, dependency={"delay-tolerance": "200us"})
    assert shop.command("apply", path, "--yes").returncode == 0
    rows = shop.rows()
    web, counter = rows["shop-web"], rows["shop-counter"]
    assert web["node"] == counter["node"], "on one host"
    assert [it["node"] for it in web["standbys"]] == [it["node"] for it in counter["standbys"]], "also after a failure"
    first, second = web["node"], web["standbys"][0]["node"]
    client = cluster.client()
    lines = client.lines(address_of(web), PORT)
    assert lines.ask("incr") == "1"

    assert shop.command("move", "shop-counter", second).returncode == 0
    until(lambda: shop.rows()["shop-web"]["node"] == second, "it follows", TAKES)
    assert lines.ask("incr") == "2", "nothing was lost, no connection was closed"
    told = cluster.nodes[int(first.removeprefix("node"))].events.of("shop-web", 0)
    follows = next(event for event in told if event["kind"] == "follows_sponsors")
    assert "'shop-counter' on node" in follows["reason"] and "not on the same host" in follows["reason"], follows

    wait_until_stood_by(cluster, "shop-web", [first], cluster.nodes[int(second.removeprefix("node"))])
    assert shop.command("move", "shop-web", first).returncode == 0
    far = until(lambda: shop.rows()["shop-web"]["too_far"], "it says that it is far", TAKES)
    assert "'shop-counter' on node" in far[0]
    until(lambda: "it was put here" in (shop.rows()["shop-web"]["too_far_reason"] or ""), "it stays", TAKES)
    status = shop.command("status", "shop")
    assert status.returncode and "it is too far from what it depends on" in " ".join(status.stdout.split()), status.stdout
    wait_until_stood_by(cluster, "shop-counter", [first], cluster.nodes[int(second.removeprefix("node"))])
    assert shop.command("move", "shop-counter", first).returncode == 0
    until(lambda: not shop.rows()["shop-web"]["too_far"], "both are on one host again", TAKES)
    assert lines.ask("incr") == "3"
    lines.close()


def test_what_runs_elsewhere_than_planned_is_moved_with_its_state(cluster, shop):
    path = model(shop.directory)
    assert shop.command("apply", path, "--yes").returncode == 0
    rows = shop.rows()
    owner = rows["shop-counter"]["node"]
    client = cluster.client()
    assert client.lines(address_of(rows["shop-web"]), PORT).ask("incr") == "1"
    cluster.nodes[1].cli("node", "drain", owner, "--yes")
    assert shop.rows()["shop-counter"]["node"] != owner
    cluster.nodes[1].cli("node", "uncordon", owner)
    again = shop.command("apply", path, "--yes")
    assert again.returncode == 0 and "nothing was changed" in again.stdout, "where it is, it may stay"
    assert client.lines(address_of(rows["shop-web"]), PORT).ask("incr") == "2"


def test_a_failed_step_leaves_what_was_done_and_is_gone_on_from(cluster, shop):
    broken = model(shop.directory, server="raise SystemExit('no')\n")
    failed = shop.command("apply", broken, "--yes")
    assert failed.returncode != 0
    assert "shop-counter: runs on" in failed.stdout
    counter = shop.rows()["shop-counter"]
    fixed = shop.command("apply", model(shop.directory), "--yes")
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert shop.rows()["shop-counter"]["init_pid"] == counter["init_pid"]


def test_a_name_that_is_taken_is_refused_before_anything_is_done(cluster, shop):
    cluster.nodes[1].run({"name": "shop-web", "root-filesystem": {"directory": make_rootfs("tools")}, "command": python("/app/counter.py", 8),
                          "environment": {"HOME": "/root"}})
    failed = shop.command("apply", model(shop.directory), "--yes")
    assert failed.returncode == 5 and "'shop-web' is there already" in " ".join(failed.stderr.split())
    assert not shop.rows()
    cluster.nodes[1].cli("rm", "shop-web", "--force", "--yes")


def test_no_such_application(shop):
    with pytest.raises(CommandFailed) as failed:
        shop.nodes[1].cli("delete", "nothing", "--yes")
    assert failed.value.code == 4
