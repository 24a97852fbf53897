"""`perdure lab` as people use it: from the build's perdure to a lab that outlives the command, within 80 columns."""

import json
import os
import signal
import subprocess

import pytest
from conftest import BUILD, traces

NAME = f"test-{os.getpid()}-command"


def perdure_lab(*arguments, code=0, **options):
    result = subprocess.run([f"{BUILD}/src/cli/perdure", "lab", "--name", NAME, *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, timeout=60, **options)
    assert result.returncode == code, (arguments, result)
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if BUILD not in line), result.stdout
    return result.stderr if code else result.stdout


@pytest.fixture(scope="module", autouse=True)
def up():
    shown = perdure_lab("up", "--nodes", "2", "--boottime", "2=1h")
    assert "node2 boots" in shown and "disks are in" in shown
    yield
    perdure_lab("down")
    assert traces(NAME) == []


def state():
    return json.loads(perdure_lab("status", "--json"))


def test_the_lab_outlives_the_command_that_made_it():
    nodes = state()["nodes"]
    assert [(node["name"], node["state"], node["daemon"]["state"], node["containers"]) for node in nodes] == [
        ("node1", "up", "ready", []), ("node2", "up", "ready", [])]
    assert "3600 s" in perdure_lab("status")


def test_nodes_are_killed_and_booted_paused_and_resumed():
    assert "boot 1" in perdure_lab("kill", "1")
    assert state()["nodes"][0]["state"] == "down"
    assert "is off" in perdure_lab("shell", "1", "true", code=1)
    perdure_lab("boot", "1")
    perdure_lab("pause", "node2")
    assert state()["nodes"][1]["state"] == "paused"
    assert "'resume 2'" in perdure_lab("daemon", "2", "start", code=1)
    perdure_lab("resume", "2")
    assert "stands still" in perdure_lab("daemon", "2", "pause")
    assert "goes on" in perdure_lab("daemon", "2", "resume")
    assert "signal 9" in perdure_lab("daemon", "2", "kill")
    perdure_lab("daemon", "2", "start")
    assert [node["daemon"]["state"] for node in state()["nodes"]] == ["ready", "ready"]


def test_cuts_are_told_in_words():
    assert "node1 and node2 hear nothing of each other" in perdure_lab("cut", "1", "2")
    assert "node2 is heard by nobody" in perdure_lab("cut", "2", "--one-way")
    assert "node1 and node2 hear nothing of each other, as far as etcd goes" in perdure_lab("cut", "1", "2", "--only", "etcd")
    assert "clients hear nothing of node1\n" in perdure_lab("cut", "1", "clients", "--one-way")
    assert ["node1", "node2", "etcd"] in state()["cuts"] and ["node1", "clients"] in state()["cuts"]
    assert "Nothing is cut" in perdure_lab("heal")


def test_commands_run_on_nodes_and_clients_in_the_directory_of_the_caller(tmp_path):
    assert perdure_lab("shell", "2", "hostname") == "node2\n"
    assert perdure_lab("exec", "1", "--", "pwd", cwd=tmp_path) == f"{tmp_path}\n"
    assert perdure_lab("exec", "all", "hostname") == "node1:\nnode1\nnode2:\nnode2\n"
    assert "no containers" in perdure_lab("exec", "1", "perdure", "list")
    assert "10.78.0.200/24" in perdure_lab("client", "ip", "-br", "-4", "address", "show", "eth0")
    perdure_lab("exec", "all", "sh", "-c", 'test "$(hostname)" = node1', code=1)
    assert state()["clients"] == []


def test_who_speaks_for_an_address_is_watched():
    with subprocess.Popen([f"{BUILD}/src/cli/perdure", "lab", "--name", NAME, "watch", "10.78.0.1"], stdout=subprocess.PIPE,
                          text=True) as watching:
        assert "node1 speaks" in watching.stdout.readline()
        perdure_lab("shell", "2", "ip", "address", "add", "10.78.0.1/24", "dev", "br0")
        assert "node2 speaks, after a silence of" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
    perdure_lab("shell", "2", "ip", "address", "delete", "10.78.0.1/24", "dev", "br0")


def test_disks_are_filled_and_etcd_is_killed_where_there_are_any():
    assert "/run of node1 is full" in perdure_lab("disk", "1", "fill", "--run")
    assert "has room again" in perdure_lab("disk", "1", "free", "--run")
    assert "--disk-size" in perdure_lab("disk", "1", "fill", code=1)
    assert "no etcd runs on node2" in perdure_lab("etcd", "2", "kill", code=1)
    assert "starts another" in perdure_lab("etcd", "1", "kill")
    assert "boot 1" in perdure_lab("kill", "1", "2")
    assert [node["state"] for node in state()["nodes"]] == ["down", "down"]
    for number in ("1", "2"):
        perdure_lab("boot", number)


def test_mistakes_are_named():
    assert "runs already" in perdure_lab("up", "--nodes", "1", code=1)
    assert "nodes of this lab are 1 to 2" in perdure_lab("kill", "7", code=1)
    assert "is no node" in perdure_lab("kill", "x", code=2)
    assert "there is no lab" in perdure_lab("--name", "nobody", "status", code=1)
    assert "perdured runs on node1 already" in perdure_lab("daemon", "1", "start", code=1)
