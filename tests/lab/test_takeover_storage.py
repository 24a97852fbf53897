"""What a standby needs to take over fails with the owner: its disk is full, its memory disk too, or the newest generation that it holds is
not what it was. The bytes are changed in the memory of perdured, where the capsules of others are."""

import os
import uuid

import pytest
from cluster_tools import wait_for_states
from taking_over import TAKES, Guarded

DISK = 1 << 30


@pytest.fixture
def four(make_lab):
    """Nodes with disks of their own; the fourth has no member of etcd, which a full disk would end."""
    lab = make_lab(nodes=4, cluster=True, disk_size=DISK, options=["--log-level", "debug"])
    wait_for_states(lab.nodes[1], {f"node{n}": "ready" for n in range(1, 5)})
    return lab


def stood_by_on_the_fourth(lab, number, standbys):
    for spare in range(2, 5 - standbys):
        lab.nodes[1].cli("node", "cordon", f"node{spare}")
    it = Guarded(lab, number, standbys=standbys)
    assert lab.nodes[4] in it.standbys()
    return it


def test_the_disk_of_one_of_two_standbys_is_full(four):
    it = stood_by_on_the_fourth(four, 90, 2)
    first, full = it.owner, four.nodes[4]
    full.fill_disk()
    it.check_latest()
    first.kill()
    it.wait_until_taken_over()
    it.check_committed()
    full.free_disk()
    it.owner.cli("node", "uncordon", "node2")
    it.check_end([first, it.owner])


@pytest.mark.parametrize("disk", ["memory", "disk"])
def test_a_disk_of_the_only_standby_is_full(four, disk):
    """It takes over without it, or says what it lacks and takes over when there is room."""
    it = stood_by_on_the_fourth(four, 91, 1)
    first, full = it.owner, four.nodes[4]
    full.fill_run() if disk == "memory" else full.fill_disk()
    it.check_latest()
    after = full.events.last_sequence()
    first.kill()

    def says_why(event):
        return event["kind"] == "taken_over" or "space" in f"{event['text']} {event.get('reason') or ''}"
    full.events.wait(says_why, it.name, after, TAKES)
    full.free_run() if disk == "memory" else full.free_disk()
    it.wait_until_taken_over([full])
    it.check_committed()
    for spare in ("node2", "node3"):
        it.owner.cli("node", "uncordon", spare)
    it.check_end([first, full])


def change_in_memory(pid, text):
    """Changes one letter wherever the text is in the memory of the process; returns how often that was."""
    found, changed = 0, text[:-1] + ("x" if text[-1] != "x" else "y")
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb+", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if "[v" in line or not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            try:
                data = os.pread(memory.fileno(), end - begin, begin)
            except OSError:
                continue
            at = data.find(text.encode())
            while at >= 0:
                os.pwrite(memory.fileno(), changed.encode(), begin + at)
                found += 1
                at = data.find(text.encode(), at + 1)
    return found


def noted(it):
    """Something that the newest generation alone knows; returns it."""
    it.commit()
    text = uuid.uuid4().hex
    lines = it.lines()
    assert lines.ask(f"note {text}") == "noted"
    lines.close()
    before = it.committed
    it.commit()
    assert it.committed[-1] == text
    return text, before


def test_the_newest_generation_is_corrupt_on_one_of_two_standbys(cluster):
    """The other one has it as it was."""
    it = Guarded(cluster, 92, standbys=2)
    first = it.owner
    text, _ = noted(it)
    victim = it.standbys()[0]
    assert change_in_memory(victim.daemon_pid, text) > 0
    first.kill()
    it.wait_until_taken_over()
    it.check_committed()
    it.standbys_wanted = 1
    it.check_end([first, it.owner])


def test_the_newest_generation_is_corrupt_on_the_only_standby(cluster):
    """What does not verify is never restored; that it was passed over is told."""
    it = Guarded(cluster, 93)
    first = it.owner
    text, before = noted(it)
    (standby,) = it.standbys()
    assert change_in_memory(standby.daemon_pid, text) > 0
    after = standby.events.last_sequence()
    first.kill()
    told = standby.events.wait("passed_over", it.name, after, TAKES)
    assert "is not what it was when it was received" in told["text"], told
    it.wait_until_taken_over([standby])
    it.committed = before
    it.check_committed()
    it.check_end([first, standby])
