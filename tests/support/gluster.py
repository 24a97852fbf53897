"""A GlusterFS volume, replica 3, on three servers in namespaces of this machine, mounted by a client in a fourth.

    with Gluster(log_directory) as gluster:
        gluster.mount("/mnt")
        gluster.popen(["program", "/mnt/directory"])   # in the client's namespaces
        gluster.kill_brick(2); gluster.cut(3); gluster.heal(3)

All waits have deadlines. Everything dies with the keeper, which dies with who made it (gluster_keeper.py).
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

from . import leftovers

DEADLINE = 90.0
VOLUME = "capsules"
# A server that is gone stalls a client for these seconds instead of 42 and more.
OPTIONS = {"network.ping-timeout": "1", "client.tcp-user-timeout": "1", "server.tcp-user-timeout": "2"}
_numbers = itertools.count(900)  # beside the nodes of the same process


def missing():
    """Why it cannot run here, or None."""
    for program in ("glusterd", "gluster", "glusterfs", "bridge"):
        if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return f"{program} is not installed"
    return None if os.path.exists("/dev/fuse") else "no FUSE"


class Gluster:
    def __init__(self, log_directory):
        self.name = f"{leftovers.PREFIX}{os.getpid()}-{next(_numbers)}"
        self.logs = log_directory
        self._lock = threading.Lock()

    def __enter__(self):
        os.makedirs(self.logs, exist_ok=True)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gluster_keeper.py")
        self.keeper = subprocess.Popen([sys.executable, program, self.name], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True, start_new_session=True)
        line = self.keeper.stdout.readline()
        if not line:
            raise RuntimeError("the keeper of the GlusterFS servers ended")
        self.pid = json.loads(line)["pid"]
        try:
            self._make_volume()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait(DEADLINE)

    def _request(self, **request):
        with self._lock:
            self.keeper.stdin.write(json.dumps(request) + "\n")
            self.keeper.stdin.flush()
            answer = json.loads(self.keeper.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _until(self, attempt, what):
        """Repeats what has no event to wait for, the engine's own start and healing."""
        end = time.monotonic() + DEADLINE
        while True:
            result = attempt()
            if result["status"] == 0:
                return result["output"]
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: {result['output'].strip()}")
            time.sleep(0.1)

    def gluster(self, *arguments, index=1):
        return self._request(op="server", index=index, argv=["gluster", "--mode=script", *arguments])

    def _make_volume(self):
        for index in (1, 2, 3):
            self._until(lambda: self.gluster("pool", "list", index=index), f"glusterd {index} does not answer")
        for index in (2, 3):
            self._until(lambda: self.gluster("peer", "probe", f"10.78.0.{index}"), f"probe server {index}")
        connected = lambda: {"status": 0 if self.gluster("pool", "list")["output"].count("Connected") == 3 else 1,
                             "output": "the servers do not see each other"}
        self._until(connected, "the pool")
        bricks = [f"10.78.0.{index}:/mnt/brick" for index in (1, 2, 3)]
        self._until(lambda: self.gluster("volume", "create", VOLUME, "replica", "3", *bricks, "force"), "create")
        for option, value in OPTIONS.items():
            self._until(lambda: self.gluster("volume", "set", VOLUME, option, value), f"set {option}")
        self._until(lambda: self.gluster("volume", "start", VOLUME), "start")
        self._until(self._all_bricks_run, "the bricks")

    def _all_bricks_run(self):
        online = len(self._brick_pids())
        return {"status": 0 if online == 3 else 1, "output": f"{online} of 3 bricks are online"}

    def _brick_pids(self):
        """Index -> pid in the server's own namespace."""
        status = self.gluster("volume", "status", VOLUME, "detail")["output"]
        found = {}
        for part in status.split("Brick   ")[1:]:
            index = re.search(r"10\.78\.0\.(\d):/mnt/brick", part)
            online = re.search(r"Online\s*: Y", part)
            pid = re.search(r"Pid\s*: (\d+)", part)
            if index and online and pid:
                found[int(index.group(1))] = pid.group(1)
        return found

    def mount(self, directory):
        servers = [f"--volfile-server=10.78.0.{index}" for index in (1, 2, 3)]
        self._request(op="start", log=os.path.join(self.logs, "mount.log"),
                      argv=["glusterfs", "-N", *servers, f"--volfile-id={VOLUME}", "--log-file=/dev/stderr",
                            "--log-level=WARNING", directory])
        self._until(lambda: self._request(op="run", argv=["grep", "-q", f" {directory} fuse.glusterfs", "/proc/mounts"]),
                    f"mount on {directory}")

    def popen(self, argv, **options):
        """In the client's namespaces; ended by who asks for it, at the latest with the keeper's cgroup."""
        from . import cgroups
        return subprocess.Popen(["nsenter", "-t", str(self.pid), "-m", "-n", "--", *argv], text=True,
                                preexec_fn=lambda: cgroups.enter(self.name), **options)

    def kill_brick(self, index):
        pid = self._brick_pids()[index]
        result = self._request(op="server", index=index, argv=["kill", "-9", pid])
        assert result["status"] == 0, result["output"]

    def start_bricks(self):
        self._until(lambda: self.gluster("volume", "start", VOLUME, "force"), "start the killed brick")
        self._until(self._all_bricks_run, "the bricks")

    def wait_until_healed(self):
        def healed():
            info = self.gluster("volume", "heal", VOLUME, "info")
            counts = re.findall(r"Number of entries: (\S+)", info["output"])
            return {"status": 0 if counts == ["0", "0", "0"] else 1, "output": info["output"]}
        self._until(healed, "healing")

    def cut(self, index):
        self._request(op="link", index=index, state=0)

    def heal(self, index):
        self._request(op="link", index=index, state=3)
