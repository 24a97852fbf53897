"""Memory and files are of one instant: a number kept in a redis server, in a SQLite file and in a program agrees after
each restore. Captured volumes go back with the memory, shared ones do not."""

import os

from specs import PORT, ipv4, make_spec


def test_redis_sqlite_and_program_agree(node, remove_after):
    remove_after.append("ledger")
    spec = make_spec("ledger", "ledger.py")
    container = node.run(spec)
    client = node.client()
    state = lambda: client.lines(ipv4(spec), PORT).ask_json("state")
    seen = state()["own"]
    for _ in range(5):
        container.checkpoint()
        container.kill_and_wait()
        now = state()
        assert now["broken"] is None
        assert now["own"] == now["redis"] == now["sqlite"] == now["rows"]
        assert now["integrity"] == "ok"
        assert now["own"] >= seen  # the checkpoint came after it was asked
        seen = now["own"]


def test_files_written_after_the_generation_are_taken_back(node, remove_after):
    remove_after.append("files")
    spec = make_spec("files", "counter.py", checkpoint={"interval": "1h"})
    container = node.run(spec)
    client = node.client()
    lines = client.lines(ipv4(spec), PORT)
    lines.ask("incr")
    container.checkpoint()
    for _ in range(10):
        lines.ask("incr")
    assert lines.ask("file") == "11"
    container.kill_and_wait()
    assert client.lines(ipv4(spec), PORT).ask("file") == "1"


def volume_spec(name, kind, host=None):
    volume = {"name": "data", "mount": "/data", "kind": kind}
    if host:
        volume["host"] = host
    return make_spec(name, "counter.py", checkpoint={"interval": "1h"}, volumes=[volume])


def count_and_fail(node, container, spec):
    client = node.client()
    lines = client.lines(ipv4(spec), PORT)
    lines.ask("incr")
    container.checkpoint()
    for _ in range(4):
        lines.ask("incr")
    container.kill_and_wait()
    return client.lines(ipv4(spec), PORT)


def test_captured_volume_goes_back_with_the_memory(node, remove_after):
    remove_after.append("captured")
    spec = volume_spec("captured", "captured")
    after = count_and_fail(node, node.run(spec), spec)
    assert (after.ask("get"), after.ask("file")) == ("1", "1")


def test_captured_volume_on_a_directory_of_the_host(node, remove_after):
    remove_after.append("captured")
    host = os.path.join(node.state, "captured-on-host")
    os.makedirs(host)
    spec = volume_spec("captured", "captured", host)
    container = node.run(spec)
    after = count_and_fail(node, container, spec)
    assert (after.ask("get"), after.ask("file")) == ("1", "1")
    container.remove()
    assert open(os.path.join(host, "count")).read() == "1\n", "a directory of the host stays when the container goes"


def test_shared_volume_is_never_taken_back(node, remove_after):
    remove_after.append("shared")
    host = os.path.join(node.state, "shared-on-host")
    os.makedirs(host)
    spec = volume_spec("shared", "shared", host)
    after = count_and_fail(node, node.run(spec), spec)
    assert (after.ask("get"), after.ask("file")) == ("1", "5")


def test_read_only_shared_volume(node, remove_after):
    remove_after.append("read-only")
    host = os.path.join(node.state, "read-only-on-host")
    os.makedirs(host)
    spec = make_spec("read-only", "counter.py", volumes=[
        {"name": "media", "mount": "/media", "kind": "shared", "host": host, "access": "read-only"}])
    container = node.run(spec)
    container.kill_and_wait()
    assert container.inspect()["volumes"][0]["read_only"]
    assert node.client().lines(ipv4(spec), PORT).ask("get") == "0"
