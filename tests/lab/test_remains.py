"""A lab leaves nothing on the host: after `down`, after the death of its keeper, of its guardian, of both. Mounts, links, rules,
cgroups, processes and files are compared with those before."""

import concurrent.futures
import os
import signal
import subprocess

import pytest
from conftest import BUILD, host_state, traces
from lab_specs import lab_spec
from support import cgroups
from support.node import until

from perdure_lab import Lab, LabError, remains
from perdure_lab import lab as lab_module


def guardian_of(lab):
    return lab.connection.ask("describe")["guardian_pid"]


def end_without_down(lab):
    lab.connection.close()
    for child in lab._children:
        child.wait()


def processes_of(lab):
    return cgroups.processes(lab.cgroup)


def test_down_leaves_nothing():
    before = host_state()
    with Lab(nodes=2, build=BUILD) as lab:
        lab.nodes[1].run(lab_spec("web", 50))
        lab.client()
        lab.cut(1, 2)
        lab.nodes[2].kill()
        assert traces(lab.name)
    assert traces(lab.name) == []
    assert host_state() == before


def test_the_lab_ends_with_the_process_that_made_it(tmp_path):
    program = ("import sys; sys.path.insert(0, sys.argv[1])\n"
               "from perdure_lab import Lab\n"
               "lab = Lab(nodes=1, name=sys.argv[2]); lab.start(); lab.nodes[1].boot(); print('up', flush=True)\n"
               "sys.stdin.read()\n")
    name = f"test-{os.getpid()}-tethered"
    path = os.path.dirname(os.path.dirname(os.path.abspath(lab_module.__file__)))
    maker = subprocess.Popen(["/usr/bin/python3", "-B", "-c", program, path, name], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    assert maker.stdout.readline() == b"up\n"
    maker.kill()
    maker.wait()
    until(lambda: not traces(name), f"something is left: {traces(name)}")


def test_a_killed_keeper_leaves_nothing():
    before = host_state()
    lab = Lab(nodes=2, build=BUILD)
    lab.__enter__()
    lab.nodes[1].run(lab_spec("web", 50))
    lab.client()
    os.kill(lab.connection.ask("describe")["keeper_pid"], signal.SIGKILL)
    until(lambda: not traces(lab.name), f"something is left: {traces(lab.name)}")
    assert host_state() == before
    with pytest.raises(LabError, match="keeper .* is gone"):
        lab.nodes[1].pause()
    end_without_down(lab)


def test_a_killed_guardian_is_replaced(make_lab):
    lab = make_lab(nodes=1)
    first = guardian_of(lab)
    os.kill(first, signal.SIGKILL)
    until(lambda: guardian_of(lab) != first, "there is no other guardian")
    assert lab.nodes[1].ask("list") == {"containers": []}


def test_the_next_up_removes_what_two_killed_left():
    before = host_state()
    name = f"test-{os.getpid()}-crashed"
    lab = Lab(nodes=2, name=name, build=BUILD)
    lab.__enter__()
    lab.nodes[1].run(lab_spec("web", 50))
    keeper, guardian = lab.connection.ask("describe")["keeper_pid"], guardian_of(lab)
    os.kill(keeper, signal.SIGSTOP)  # or it would start another guardian
    os.kill(guardian, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    end_without_down(lab)
    until(lambda: not processes_of(lab), "the nodes do not die with their keeper")
    assert traces(name), "nobody was there to remove it"
    assert not remains.is_alive(name)
    with Lab(nodes=1, name=name, build=BUILD) as again:
        assert again.nodes[1].names() == [], "the disks of the dead lab are gone"
    assert traces(name) == []
    assert host_state() == before


def test_down_removes_what_two_killed_left():
    name = f"test-{os.getpid()}-dead"
    lab = Lab(nodes=1, name=name, build=BUILD)
    lab.__enter__()
    keeper, guardian = lab.connection.ask("describe")["keeper_pid"], guardian_of(lab)
    os.kill(keeper, signal.SIGSTOP)
    os.kill(guardian, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    end_without_down(lab)
    command = [f"{BUILD}/src/cli/perdure", "lab", "--name", name]
    assert "is dead" in subprocess.run([*command, "status"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert traces(name), "to look changes nothing"
    assert "Nothing of it is left" in subprocess.run([*command, "down"], stdout=subprocess.PIPE, text=True).stdout
    assert traces(name) == []
    again = subprocess.run([*command, "down"], stderr=subprocess.PIPE, text=True)
    assert again.returncode == 1 and "there is no lab" in again.stderr
    assert traces(name) == []


def test_named_disks_stay_and_are_used_again(tmp_path):
    for life in (1, 2):
        with Lab(nodes=1, disks=str(tmp_path), build=BUILD) as lab:
            node = lab.nodes[1]
            if life == 1:
                node.run(lab_spec("web", 50))
            else:
                assert node.names() == ["web"]
        assert traces(lab.name) == []
        assert sorted(os.listdir(tmp_path)) == ["node1", "node1.log"]
    (tmp_path / "mine").write_text("not of the lab")
    lab = Lab(nodes=1, disks=str(tmp_path), build=BUILD)
    lab.__enter__()
    lab.down(purge=True)
    assert os.listdir(tmp_path) == ["mine"]


def test_two_labs_at_once(make_lab):
    one, other = make_lab(nodes=1), make_lab(nodes=1)
    for lab in (one, other):
        lab.nodes[1].run(lab_spec("web", 50))
    one.nodes[1].kill()
    client = other.client()
    assert client.lines("10.78.0.50", 5000).ask("get") == "0"
    one.down()
    assert traces(one.name) == []
    assert client.lines("10.78.0.50", 5000).ask("get") == "0"


def test_a_name_is_taken_once(make_lab):
    lab = make_lab(nodes=1)
    with pytest.raises(LabError, match="runs already"):
        Lab(nodes=1, name=lab.name, build=BUILD).start()
    assert lab.nodes[1].describe()["state"] == "up"


def test_what_cannot_be_is_refused_and_leaves_nothing():
    for wrong in (dict(nodes=0), dict(nodes=33), dict(name="Lab"), dict(name="../x"), dict(nodes=1, boottime={2: 5})):
        with pytest.raises(LabError):
            Lab(build=BUILD, **wrong)
    name = f"test-{os.getpid()}-run"
    with pytest.raises(LabError, match="of their own"):
        Lab(nodes=1, name=name, disks="/run/disks", build=BUILD).start()
    assert traces(name) == []
    name = f"test-{os.getpid()}-clock"
    with pytest.raises(LabError, match="below zero"):
        Lab(nodes=1, name=name, build=BUILD, boottime={1: -10**8}).__enter__()
    assert traces(name) == []


def test_locks_of_labs_that_come_and_go_at_once(tmp_path, monkeypatch):
    """The directory of the locks comes and goes with them."""
    monkeypatch.setattr(remains, "RUN", str(tmp_path / "run"))

    def come_and_go(name):
        for _ in range(500):
            remains.drop_lock(name, remains.take_lock(name))
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for lab in [threads.submit(come_and_go, f"lab{number}") for number in range(4)]:
            lab.result(timeout=60)
    assert not os.path.exists(remains.RUN)
