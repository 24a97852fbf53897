"""Containers on the nodes of a lab, with runc and CRIU as they are: they are restored after a death inside, after the death of
their host when it boots again, and on a host whose boot clock is another one."""

import pytest
from lab_specs import PORT, address, lab_spec
from support.node import until

DAY = 86400


def test_a_container_is_restored_on_its_node(lab):
    node, client = lab.nodes[1], lab.client()
    container = node.run(lab_spec("web", 50))
    lines = client.lines(address(50), PORT)
    life = lines.ask("pid")
    number = [lines.ask("incr") for _ in range(5)][-1]
    container.checkpoint()
    container.kill_and_wait()
    again = client.lines(address(50), PORT)
    assert (again.ask("pid"), again.ask("get"), again.ask("file")) == (life, number, number)


def test_a_node_boots_with_its_disk_and_without_its_memory(lab):
    node, client = lab.nodes[2], lab.client()
    container = node.run(lab_spec("kept", 51))
    lines = client.lines(address(51), PORT)
    number = [lines.ask("incr") for _ in range(5)][-1]
    container.checkpoint()
    node.execute("touch", "/run/forgotten")
    node.kill()
    node.boot()
    assert node.execute("test", "-e", "/run/forgotten", check=False).returncode == 1
    container.wait_until_protected()
    assert client.lines(address(51), PORT).ask("get") == number
    container.remove()


def test_what_the_kernel_can_do_is_known_before_anything_is_restored(lab):
    """CRIU's first look at it takes longer than a restore."""
    for node in lab.nodes.values():
        until(lambda: node.execute("test", "-s", "/run/criu.kdat", check=False).returncode == 0, f"{node.name}: no /run/criu.kdat")


@pytest.mark.parametrize("offset", [DAY, -30])
def test_a_node_with_another_boot_clock_protects_its_containers(make_lab, offset):
    lab = make_lab(nodes=2, boottime={1: offset})
    node, client = lab.nodes[1], lab.client()

    def boot_clock(of):
        return float(of.execute("cut", "-d", " ", "-f", "1", "/proc/uptime").stdout)
    assert abs(boot_clock(node) - boot_clock(lab.nodes[2]) - offset) < 20
    container = node.run(lab_spec("web", 50))
    lines = client.lines(address(50), PORT)
    number = [lines.ask("incr") for _ in range(5)][-1]
    container.checkpoint()
    for _ in range(2):  # also from a generation of a restored one
        after, _ = container.kill()
        restored = container.wait_for_event("restored", after)
        # The kernel reports the death on its own clock.
        assert 0 < restored["durations_ns"]["noticed"] < restored["durations_ns"]["restored"] < 20e9
        assert 0 < container.wait_for_event("first_packet", after)["durations_ns"]["first_packet"] < 60e9
        assert 0 < container.inspect()["last_restore"]["lost_ns"] < 60e9
        assert client.lines(address(50), PORT).ask("get") == number
        container.wait_until_protected()
        container.wait_for_newer_generation(restored["generation"])
    age = container.inspect()["newest_committed"]["age_ns"]
    assert 0 <= age < 60e9
