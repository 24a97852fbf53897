"""Fifty checkpoints and ten restores leave no more behind than one: no memory, descriptors, mounts, processes, files."""

import glob
import os

from specs import PORT, ipv4, make_spec
from support import cgroups


def footprint(node, container):
    pid = node.daemon_pid
    status = open(f"/proc/{pid}/status").read()
    memory = {line.split(":")[0]: int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup").readlines()[1:]}
    directories = sum(len(list(os.walk(os.path.join(mount, node.name)))) for mount in cgroups.all_mounts())
    return {
        # Without what is kept for the next capsules and is the kernel's when it wants it (MADV_FREE; at most 64 MiB).
        "memory_mb": (memory["Rss"] - memory["LazyFree"]) / 1024,
        "threads": int(status.split("Threads:")[1].split()[0]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "mounts of the node": len(open(f"/proc/{pid}/mountinfo").readlines()),
        "mounts of the host": len(open("/proc/self/mountinfo").readlines()),
        "processes of the node": len(cgroups.processes(node.daemon_cgroup())),
        "processes of the container": len(container.pids()),
        "cgroups": directories,
        "links": len(node.execute("ip", "-br", "link").stdout.splitlines()),
        "capsules": len(glob.glob(os.path.join(glob.escape(node.state), "state/capsules/*/*"))),
        "files of the container": sum(len(files) for _, _, files in os.walk(
            os.path.join(node.state, "state", "containers", container.name), followlinks=False)),
        "files in /run": sum(len(files) for _, _, files in os.walk(f"/proc/{node.keeper_pid}/root/run")),
    }


# May vary by so much: memory of the allocator and of pages that differ, a chain of deltas, log files, the pool's threads.
SLACK = {"memory_mb": 24, "threads": 2, "descriptors": 4, "capsules": 20, "files of the container": 4,
         "files in /run": 2, "processes of the node": 2}


def test_fifty_checkpoints_and_ten_restores(own_node):
    spec = make_spec("counter", "counter.py", 16, checkpoint={"interval": "1h"},
                     restart={"probation": "0s", "max-restores": 100})
    container = own_node.run(spec)
    client = own_node.client()

    def checkpoints(count):
        lines = client.lines(ipv4(spec), PORT)
        for _ in range(count):
            lines.ask("incr")
            lines.ask("touch 2")
            container.checkpoint()
        lines.close()

    def restores(count):
        for _ in range(count):
            container.kill_and_wait()
            container.checkpoint()

    checkpoints(12)
    restores(2)
    before = footprint(own_node, container)
    checkpoints(50)
    restores(10)
    after = footprint(own_node, container)
    grown = {what: (before[what], after[what]) for what in before if after[what] > before[what] + SLACK.get(what, 0)}
    assert not grown, f"(before, after): {grown}"
    assert client.lines(ipv4(spec), PORT).ask("get") == "62"


def test_containers_come_and_go(own_node):
    first = own_node.run(make_spec("stays", "counter.py", 1, checkpoint={"interval": "1h"}))
    before = footprint(own_node, first)
    spec = make_spec("guest", "counter.py", 1)
    for _ in range(10):
        own_node.run(spec).remove()
    after = footprint(own_node, first)
    grown = {what: (before[what], after[what]) for what in before if after[what] > before[what] + SLACK.get(what, 0)}
    assert not grown, f"(before, after): {grown}"
