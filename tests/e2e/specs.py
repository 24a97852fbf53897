"""Specifications of the containers that the tests start."""

import itertools

from support.rootfs import make_rootfs

# From 100 on they are the clients'. Each file of tests has a network of its own, and none so many containers.
_addresses = itertools.cycle(range(10, 99))
PORT = 5000


def make_spec(name, *command, network=True, **sections):
    """A container of the root file system "tools" that runs /app/COMMAND. Sections are merged over what a test wants
    by default: short intervals, and deaths that speak against no generation."""
    spec = {
        "name": name,
        "root-filesystem": {"directory": make_rootfs("tools")},
        "command": ["/usr/bin/python3", "-u", f"/app/{command[0]}", *map(str, command[1:])],
        "environment": {"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/root"},
        "checkpoint": {"interval": "200ms", "cpu-budget": "100%"},
        "restart": {"probation": "0s", "max-restores": 50},
        "stop": {"deadline": "2s"},
    }
    if network:
        number = next(_addresses)
        spec["network"] = {"bridge": "br0", "ipv4": f"10.77.0.{number}/24", "ipv6": f"fd77::{number:x}/64"}
    for key, value in sections.items():
        key = key.replace("_", "-")
        spec[key] = {**spec.get(key, {}), **value} if isinstance(value, dict) else value
    return spec


def ipv4(spec):
    return spec["network"]["ipv4"].split("/")[0]


def ipv6(spec):
    return spec["network"]["ipv6"].split("/")[0]
