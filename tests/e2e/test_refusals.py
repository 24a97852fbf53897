"""What cannot be protected on this host is refused before it starts, with the object and a remedy; nothing is left."""

import os

import pytest
from specs import PORT, ipv4, make_spec
from support.node import CommandFailed


def refused(node, spec, *words):
    """The run fails, says so, and leaves no process; returns the error object."""
    with pytest.raises(CommandFailed) as raised:
        node.run(spec)
    error = raised.value.reply()
    said = " ".join([error["message"], error["remedy"] or "", *error["detail"]])
    for word in words:
        assert word in said, said
    assert node.container(spec["name"]).pids() == []
    return raised.value.code


def effective_has_sys_resource():
    for line in open("/proc/self/status"):
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> 24 & 1)
    return False


def test_another_user_than_root_where_criu_cannot(node, remove_after):
    if effective_has_sys_resource():
        pytest.skip("this host has CAP_SYS_RESOURCE, so CRIU can dump other users' processes")
    remove_after.append("user")
    refused(node, make_spec("user", "counter.py", user="65534:65534"), "CAP_SYS_RESOURCE", "0:0")


def test_another_user_than_root(node, remove_after):
    if not effective_has_sys_resource():
        pytest.skip("this host lacks CAP_SYS_RESOURCE, without which CRIU can dump processes of 0:0 only")
    remove_after.append("user")
    spec = make_spec("user", "counter.py", user="65534:65534", volumes=[
        {"name": "data", "mount": "/data", "kind": "captured"}])
    node.run(spec)


def test_terminal(node, remove_after):
    remove_after.append("terminal")
    assert refused(node, make_spec("terminal", "counter.py", terminal=True), "terminal") == 5


def test_privileged(node, remove_after):
    remove_after.append("privileged")
    assert refused(node, make_spec("privileged", "counter.py", privileged=True), "privileged") == 5


def test_command_that_is_not_in_the_image(node, remove_after):
    remove_after.append("missing")
    spec = make_spec("missing", "counter.py")
    spec["command"] = ["/usr/bin/no-such-program"]
    refused(node, spec, "no-such-program")


def test_root_file_system_that_does_not_exist(node, remove_after):
    remove_after.append("missing")
    spec = make_spec("missing", "counter.py")
    spec["root-filesystem"] = {"directory": os.path.join(node.state, "nothing")}
    refused(node, spec, "nothing")


def test_shared_volume_that_does_not_exist(node, remove_after):
    remove_after.append("missing")
    spec = make_spec("missing", "counter.py", volumes=[
        {"name": "media", "mount": "/media", "kind": "shared", "host": os.path.join(node.state, "nowhere")}])
    refused(node, spec, "nowhere")


def test_bridge_that_does_not_exist(node, remove_after):
    remove_after.append("bridgeless")
    spec = make_spec("bridgeless", "counter.py")
    spec["network"]["bridge"] = "br99"
    refused(node, spec, "br99")


def test_an_address_of_another_container_names_its_holder(node, remove_after):
    remove_after.extend(["first", "second"])
    first = make_spec("first", "counter.py")
    node.run(first)
    second = make_spec("second", "counter.py")
    second["network"]["ipv4"] = first["network"]["ipv4"]
    assert refused(node, second, ipv4(first), "first") == 6
    assert node.client().lines(ipv4(first), PORT).ask("get") == "0"
    third = make_spec("second", "counter.py")
    third["network"]["ipv6"] = first["network"]["ipv6"]
    assert refused(node, third, "first") == 6


def test_an_address_that_another_machine_holds_is_refused(node, remove_after):
    remove_after.append("clash")
    holder = node.client()
    spec = make_spec("clash", "counter.py")
    spec["network"] = {"bridge": "br0", "ipv4": f"{holder.addresses[0]}/24"}
    assert refused(node, spec, holder.addresses[0], "in use") == 6


def test_after_a_refusal_the_name_is_free_again(node, remove_after):
    remove_after.append("again")
    spec = make_spec("again", "counter.py")
    command = spec["command"]
    spec["command"] = ["/usr/bin/no-such-program"]
    refused(node, spec)
    node.try_cli("rm", "--force", "--yes", "again")
    spec["command"] = command
    assert node.run(spec).inspect()["phase"] == "running"
