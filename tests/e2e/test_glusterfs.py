"""Generations on GlusterFS, replica 3: a server's brick is killed and, after it has healed, another server is cut off, while a
store writes one generation after the other. Each that was acknowledged loads afterwards through a fresh mount, and the thread
beside the writer that stands for the one with the heartbeats goes on ticking through every stall."""

import os
import queue
import shutil
import subprocess
import threading
import time

import pytest

from support import gluster as gluster_module
from support.gluster import DEADLINE, Gluster
from support.rootfs import TOP

BUILD = os.environ.get("PERDURE_BUILD", os.path.join(TOP, "build", "dev"))
PROGRAM = os.path.join(BUILD, "src/replica/perdure_store_writer")
DIRECTORY = "/mnt/capsules"
TICK_US = 10_000
STALL_US = 400_000  # a write that took longer was stalled
WRITES_BETWEEN = 15


class Writer:
    def __init__(self, gluster, log):
        self.stored, self.failures, self.stalls = [], [], []
        self.slowest_us = 0
        self.lines = queue.Queue()
        self.process = gluster.popen([PROGRAM, "write", DIRECTORY], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=open(log, "ab"))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _take(self):
        """The next report; False: the program has ended."""
        line = self.lines.get(timeout=DEADLINE)
        if line is None:
            return False
        what, number, took_us, ticks, why = line.rstrip("\n").split(" ", 4)
        took_us = int(took_us)
        self.slowest_us = max(self.slowest_us, took_us)
        if took_us > STALL_US:
            self.stalls.append((took_us, int(ticks)))
        if what == "put":
            self.stored.append(int(number))
        else:
            self.failures.append(f"{number}: {why}")
        return True

    def wait_for_writes(self, count):
        wanted = len(self.stored) + count
        end = time.monotonic() + DEADLINE
        while len(self.stored) < wanted:
            assert self._take(), "the writer has ended"
            assert time.monotonic() < end, f"no {count} writes in {DEADLINE} s; failures: {self.failures[-3:]}"

    def finish(self):
        self.process.stdin.close()
        while self._take():
            pass
        assert self.process.wait(DEADLINE) == 0


@pytest.fixture
def gluster(request):
    reason = gluster_module.missing()
    if reason:
        pytest.skip(reason)
    logs = os.path.join(TOP, "build", "nodes", f"{os.getpid()}-glusterfs")
    with Gluster(logs) as one:
        yield one
    if not os.environ.get("PERDURE_KEEP"):
        shutil.rmtree(logs, ignore_errors=True)


def test_a_killed_brick_and_a_cut_link_lose_nothing(gluster):
    gluster.mount("/mnt")
    writer = Writer(gluster, os.path.join(gluster.logs, "writer.log"))
    writer.wait_for_writes(WRITES_BETWEEN)

    gluster.kill_brick(2)
    writer.wait_for_writes(WRITES_BETWEEN)
    gluster.start_bricks()
    gluster.wait_until_healed()  # two failures without it are an outage of replica 3
    writer.wait_for_writes(WRITES_BETWEEN)

    gluster.cut(3)
    writer.wait_for_writes(WRITES_BETWEEN)
    gluster.heal(3)
    writer.wait_for_writes(WRITES_BETWEEN)
    writer.finish()
    print(f"{len(writer.stored)} stored, {len(writer.failures)} failed, slowest {writer.slowest_us / 1000:.0f} ms, "
          f"stalls (us, ticks): {writer.stalls}")

    # A stall of the mount is none of the ticker: it had at least a fifth of its ticks, on however loaded a machine.
    for took_us, ticks in writer.stalls:
        assert ticks >= took_us / TICK_US / 5, f"{ticks} ticks in a stall of {took_us} us"

    gluster.mount("/media")  # nothing of the first mount's caches
    verifier = gluster.popen([PROGRAM, "verify", DIRECTORY.replace("/mnt", "/media")], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = verifier.communicate("\n".join(map(str, writer.stored)), timeout=DEADLINE)
    lines = output.splitlines()
    assert [line for line in lines if not line.startswith("good ")] == []
    assert len(lines) == len(writer.stored)
