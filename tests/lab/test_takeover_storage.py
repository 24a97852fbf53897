"""What a standby needs to take over fails with the owner: its disk is full, or its memory disk."""

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


def test_the_memory_disk_of_the_only_standby_is_full(four):
    """It takes over without it, or says what it lacks and takes over when there is room."""
    it = stood_by_on_the_fourth(four, 91, 1)
    first, full = it.owner, four.nodes[4]
    full.fill_run()
    it.check_latest()
    after = full.events.last_sequence()
    first.kill()

    def says_why(event):
        return event["kind"] == "taken_over" or "space" in f"{event['text']} {event.get('reason') or ''}"
    full.events.wait(says_why, it.name, after, TAKES)
    full.free_run()
    it.wait_until_taken_over([full])
    it.check_committed()
    for spare in ("node2", "node3"):
        it.owner.cli("node", "uncordon", spare)
    it.check_end([first, full])
