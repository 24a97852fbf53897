"""Containers of components for the tests, and what is asked of them."""

from specs import ipv4, make_spec
from support.components import Components
from support.node import until

DB, WEB = 5001, 5002


def component(name, port, *arguments, **keys):
    return {"name": name, "command": ["/usr/bin/python3", "-u", "/app/component.py", str(port), *map(str, arguments)], **keys}


def http(port, **keys):
    return {"http": port, "interval": "100ms", "timeout": "500ms", "failures": 2, **keys}


def spec_of(name, *components, **sections):
    spec = make_spec(name, "none.py", **sections)
    del spec["command"]
    spec["components"] = list(components)
    return spec


def command_line(pid):
    """Arguments, each with a zero byte behind it; empty: it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Asked(Components):
    def __init__(self, node, remove_after, spec):
        super().__init__(node.client(), ipv4(spec))
        remove_after.append(spec["name"])
        self.spec = spec
        self.container = node.run(spec)

    def kinds(self, after=0):
        return [event["kind"] for event in self.container.events(after)]

    def row(self, name):
        return next(row for row in self.container.inspect()["components"] if row["name"] == name)

    def process(self, title):
        """On the host: the one process whose command line begins so."""
        found = [pid for pid in self.container.pids() if command_line(pid).startswith(title)]
        assert len(found) == 1, f"{title}: {found}"
        return found[0]

    def pid_of(self, name):
        """On the host: that of the component's first process."""
        wanted = next(it for it in self.spec["components"] if it["name"] == name)["command"]
        for pid in self.container.pids():
            if command_line(pid).split("\0")[:-1] == [*wanted]:
                return pid
        raise AssertionError(f"no process of {name}")

    def states(self):
        return {row["name"]: row["state"] for row in self.container.inspect()["components"]}

    def wait_for_states(self, **states):
        wanted = {name: state.replace("_", "-") for name, state in states.items()}
        until(lambda: self.states() == wanted, f"components are not {wanted}: {self.states()}")
