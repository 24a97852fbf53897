"""A durable directory that all nodes see: what ran before the cluster goes on in it, its owner's host may be booted, a container
moves, what is removed leaves nothing; an empty mount point is not taken for it; and a node that leaves takes its containers along."""

import os

import pytest
from cluster_tools import init, join, leave, refusal, status, token, wait_for_standby
from lab_specs import PORT, address, lab_spec

from perdure_lab import CommandFailed
from perdure_lab.host import until

LONG = 60.0
ON_DEMAND = {"interval": "1h"}


def file_of(generation):
    """TERM.INCARNATION.NUMBER, the second in hexadecimal."""
    term, incarnation, number = generation.split(".")
    return f"{int(term):020}-{int(incarnation, 16):016x}-{int(number):020}.capsule"


class Shared:
    """Two nodes with a directory and no standbys: what is committed is what lies in it."""

    def __init__(self, make_lab):
        self.lab = make_lab(nodes=2)
        self.one, self.two = self.lab.nodes[1], self.lab.nodes[2]
        self.path = os.path.join(os.path.dirname(self.one.state), "shared")
        os.mkdir(self.path, 0o700)
        self.client = self.lab.client()

    def begin(self):
        init(self.one, "--durable-directory", self.path, "--standbys", "0")
        join(self.two, self.one, token(self.one))

    def files(self, name):
        try:
            return sorted(file for file in os.listdir(os.path.join(self.path, name)) if file.endswith(".capsule"))
        except FileNotFoundError:
            return []

    def wait_for_file(self, name, beside=()):
        until(lambda: set(self.files(name)) - set(beside), f"nothing new of {name} in the directory", LONG, 0.05)

    def lines(self, number):
        return self.client.lines(address(number), PORT)

    def boots_and_goes_on(self, container, generation, number, life):
        """The first node does, from this generation, whose state this is."""
        self.one.kill()
        self.one.boot()
        restored = container.wait_until(lambda it: it["last_restore"], "is not restored")["last_restore"]
        assert restored["generation"] == generation
        lines = self.lines(50)
        assert (lines.ask("get"), lines.ask("pid")) == (number, life)


@pytest.fixture
def shared(make_lab):
    return Shared(make_lab)


def test_what_ran_before_the_cluster_goes_on_in_its_directory(shared):
    early = shared.one.run(lab_spec("early", 50))
    lines = shared.lines(50)
    number = int(lines.ask("incr"))
    early.wait_until_protected()
    shared.begin()
    shared.wait_for_file("early")
    assert int(lines.ask("incr")) == number + 1, "on the connection of before"
    early.wait_until_protected()
    for name in shared.files("early"):
        path = os.path.join(shared.path, "early", name)
        assert os.stat(path).st_mode & 0o7777 == 0o600
        with open(path, "rb") as file:
            assert b"counter.py" not in file.read(), "what is stored is sealed"
    early.remove()
    assert os.listdir(shared.path) == [".perdure-cluster"]


def test_the_host_of_its_owner_boots_and_goes_on_from_it(shared):
    shared.begin()
    container = shared.one.run(lab_spec("web", 50, checkpoint=ON_DEMAND))
    lines = shared.lines(50)
    number, life = [lines.ask("incr") for _ in range(5)][-1], lines.ask("pid")
    newest = container.checkpoint()["generation"]["generation"]
    lines.close()
    shared.one.kill()
    shared.one.boot()
    restored = container.wait_until(lambda it: it["last_restore"], "is not restored")["last_restore"]
    assert restored["generation"] == newest
    lines = shared.lines(50)
    assert (lines.ask("get"), lines.ask("pid")) == (number, life)
    before = shared.files("web")
    container.checkpoint()
    shared.wait_for_file("web", before)
    assert not os.path.exists(os.path.join(shared.one.state, "capsules", "web")), "on its own disk is nothing of it"


def test_a_container_that_moves_takes_nothing_along_and_leaves_nothing_behind(shared):
    shared.begin()
    shared.one.run(lab_spec("web", 50, checkpoint={"interval": "100ms", "generations": 2}))
    lines = shared.lines(50)
    number = int(lines.ask("incr"))
    shared.wait_for_file("web")
    term = shared.files("web")[0].split("-")[0]
    shared.one.ask("move", "web", "node2")
    assert int(lines.ask("incr")) == number + 1
    until(lambda: shared.files("web") and all(file.split("-")[0] > term for file in shared.files("web")),
          "what the former owner stored stays in the directory", LONG, 0.05)
    moved = shared.two.container("web")
    moved.wait_until_protected()
    moved.remove()
    assert os.listdir(shared.path) == [".perdure-cluster"]


def test_an_empty_mount_point_is_not_taken_for_it(shared):
    shared.begin()
    one = shared.one
    container = one.run(lab_spec("web", 50, checkpoint=ON_DEMAND))
    lines = shared.lines(50)
    number, life = [lines.ask("incr") for _ in range(5)][-1], lines.ask("pid")
    newest = container.checkpoint()["generation"]["generation"]
    lines.close()
    one.kill()
    os.rename(shared.path, shared.path + ".away")
    os.mkdir(shared.path)
    one.boot()
    waiting = container.wait_until(lambda it: "is it mounted" in (it["phase_reason"] or ""), "does not say what it waits for")
    assert shared.path in waiting["phase_reason"] and waiting["init_pid"] is None, "it is not begun anew"
    with pytest.raises(CommandFailed) as unprotected:
        one.run(lab_spec("late", 51))
    assert unprotected.value.code == 8
    late = one.container("late")
    assert "is it mounted" in late.inspect()["protection"]["reason"]
    assert os.listdir(shared.path) == [], "nothing is written to it"
    os.rmdir(shared.path)
    os.rename(shared.path + ".away", shared.path)
    container.wait_until(lambda it: it["last_restore"] and it["last_restore"]["generation"] == newest, "is not restored")
    lines = shared.lines(50)
    assert (lines.ask("get"), lines.ask("pid")) == (number, life)
    late.wait_until_protected()


def test_the_directory_of_another_cluster_is_refused(shared):
    shared.begin()
    shared.two.ask("cluster", "leave", "--yes")
    refused = refusal(init, shared.two, "--durable-directory", shared.path)
    assert "is that of cluster" in refused and ".perdure-cluster" in refused, refused
    assert status(shared.one)["durable_directory"] == shared.path


@pytest.mark.parametrize("durable", [False, True], ids=["own-directory", "durable-directory"])
def test_a_node_that_leaves_keeps_its_containers_and_what_it_stores_of_them(shared, durable):
    one = shared.one
    init(one, "--standbys", "0", *(["--durable-directory", shared.path] if durable else []))
    container = one.run(lab_spec("web", 50, checkpoint=ON_DEMAND))
    lines = shared.lines(50)
    lines.ask("incr")
    container.checkpoint()
    leave(one)
    number, life = [lines.ask("incr") for _ in range(5)][-1], lines.ask("pid")
    newest = container.checkpoint()["generation"]["generation"]
    lines.close()
    shared.boots_and_goes_on(container, newest, number, life)
    container.wait_until_protected()
    with open(os.path.join(one.state, "capsules", "web", f"{file_of(newest)}"), "rb") as file:
        assert b"counter.py" in file.read(), "what a node of its own stores is not sealed"


def test_a_node_leaves_without_its_directory_with_what_it_has_in_memory_or_not_at_all(shared):
    one = shared.one
    shared.begin()
    container = one.run(lab_spec("web", 50, checkpoint=ON_DEMAND))
    lines = shared.lines(50)
    number, life = [lines.ask("incr") for _ in range(5)][-1], lines.ask("pid")
    newest = container.checkpoint()["generation"]["generation"]
    lines.close()
    os.rename(shared.path, shared.path + ".away")
    os.mkdir(shared.path)
    one.kill_daemon()
    one.start_daemon()  # which knows nothing of what is stored, and has nothing in memory
    refused = refusal(leave, one)
    assert "'web'" in refused and "is it mounted" in refused, refused
    assert status(one)["durable_directory"] == shared.path, "it is a member still"
    os.rmdir(shared.path)
    os.rename(shared.path + ".away", shared.path)
    again = container.checkpoint()["generation"]["generation"]
    assert again != newest
    os.rename(shared.path, shared.path + ".away")
    leave(one)
    shared.boots_and_goes_on(container, again, number, life)


def test_what_a_node_takes_along_is_forgotten_by_the_cluster(shared):
    shared.begin()
    one, two = shared.one, shared.two
    container = two.run(lab_spec("web", 50))
    lines = shared.lines(50)
    number = int(lines.ask("incr"))
    assert refusal(two.ask, "cluster", "leave", "--yes").startswith("this node owns 1 container")
    leave(two)
    assert int(lines.ask("incr")) == number + 1, "on the connection of before"
    container.wait_until_protected()
    assert two.ask("inspect", "web")["container"]["standbys"] == []
    assert one.names() == [], "the cluster does not know it"
    container.remove()
    again = one.run(lab_spec("web", 50))  # its name and its address are free
    again.remove()


def test_a_node_leaves_with_what_another_stands_by_for(make_lab):
    lab = make_lab(nodes=2, cluster=True)
    one, two = lab.nodes[1], lab.nodes[2]
    container = two.run(lab_spec("web", 50, checkpoint={"interval": "100ms"}))
    wait_for_standby(container, "node1")
    lines = lab.client().lines(address(50), PORT)
    number = int(lines.ask("incr"))
    leave(two)
    newest = container.wait_until_protected()["newest_committed"]["generation"]
    for _ in range(3):  # it is captured as before, for this node alone
        container.wait_for_newer_generation(newest)
        newest = container.inspect()["newest_committed"]["generation"]
    assert int(lines.ask("incr")) == number + 1
    until(lambda: not os.path.exists(os.path.join(one.state, "standby", "web")) and status(one)["nodes"][0]["held"] == 0,
          "node1 holds it still")
    assert two.daemon_runs()
