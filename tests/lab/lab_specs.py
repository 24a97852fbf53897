"""Specifications of containers on the nodes of a lab."""

from specs import PORT, make_spec  # noqa: F401


def lab_spec(name, number, *command, reachability=(), **sections):
    """As make_spec, with an address on the lab's LAN: number is 50 to 199. `reachability`: addresses whose silence moves it."""
    spec = make_spec(name, *(command or ("counter.py", 8)), network=False, **sections)
    spec["network"] = {"bridge": "br0", "ipv4": f"10.78.0.{number}/24", "ipv6": f"fd78::{number:x}/64"}
    if reachability:
        spec["network"]["reachability"] = list(reachability)
    return spec


def address(number):
    return f"10.78.0.{number}"
