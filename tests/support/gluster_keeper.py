#!/usr/bin/python3
"""Keeps a LAN of three GlusterFS servers and one client. Started by gluster.py; lives as long as its standard input.

A server is a PID, mount, UTS and network namespace with an own /var/lib/glusterd, /run and /var/log/glusterfs (tmpfs) and a
brick on a tmpfs; it runs `glusterd -N`. This process is in the client's mount and network namespace, where the bridge is.
Requests are JSON lines on standard input, answers JSON lines on standard output:

  {"op": "server", "index": 1, "argv": [...]}  runs it on a server -> {"status": N, "output": TEXT}
  {"op": "run", "argv": [...]}                 the same on the client
  {"op": "start", "argv": [...], "log": PATH}  on the client, in the background -> {"pid": N}
  {"op": "link", "index": 1, "state": 0}       cuts a server off with the carrier up; 3: heals

When standard input ends, also because who started it was killed, everything is killed; the mounts go with it.
"""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from support import cgroups, kernel  # noqa: E402
from support.keeper import ip  # noqa: E402

SERVERS = (1, 2, 3)
COMMAND_TIME = 60
# Becomes PID 1 of the server, with its standard input as its life line.
SERVER = """
mount -t proc proc /proc && hostname gluster%(index)d &&
for directory in /var/lib/glusterd /run /var/log/glusterfs /mnt; do mount -t tmpfs tmpfs $directory || exit 1; done
mkdir -p /run/gluster /mnt/brick && ip link set lo up && echo ready
read -r line
glusterd -N --log-level WARNING </dev/null >/dev/null 2>&1 &
cat >/dev/null
"""


class GlusterKeeper:
    def __init__(self, name):
        self.name = name
        self.servers = {}
        self.children = []

    def enter(self):
        cgroups.enter(self.name)

    def prepare(self):
        kernel.become_subreaper()
        cgroups.create(self.name)
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        for directory in ("/run", "/var/log/glusterfs", "/mnt", "/media"):
            kernel.mount("tmpfs", directory, "tmpfs", 0, "mode=755")
        os.makedirs("/run/gluster")
        ip("link", "set", "lo", "up")
        ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        ip("address", "add", "10.78.0.254/24", "dev", "br0")
        ip("link", "set", "br0", "up")
        for index in SERVERS:
            self.make_server(index)

    def make_server(self, index):
        holder = subprocess.Popen(["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--",
                                   "sh", "-c", SERVER % {"index": index}], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True, preexec_fn=self.enter)
        if holder.stdout.readline() != "ready\n":
            raise RuntimeError(f"server {index} did not start")
        children = open(f"/proc/{holder.pid}/task/{holder.pid}/children").read().split()
        self.servers[index] = children[0]
        self.children.append(holder)
        ip("link", "add", f"server{index}", "type", "veth", "peer", "name", "eth0", "netns", children[0])
        ip("link", "set", f"server{index}", "master", "br0", "up")
        for arguments in (["address", "add", f"10.78.0.{index}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            subprocess.run(["nsenter", "-t", children[0], "-n", "ip", *arguments], check=True)
        holder.stdin.write("start\n")
        holder.stdin.flush()

    def run(self, argv):
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, timeout=COMMAND_TIME, preexec_fn=self.enter)
        return {"status": result.returncode, "output": result.stdout}

    def start(self, argv, log):
        with open(log, "ab") as output:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                     preexec_fn=self.enter)
        self.children.append(child)
        return {"pid": child.pid}

    def handle(self, request):
        if request["op"] == "server":
            return self.run(["nsenter", "-t", self.servers[request["index"]], "-m", "-u", "-n", "-p", "--",
                             *request["argv"]])
        if request["op"] == "run":
            return self.run(request["argv"])
        if request["op"] == "start":
            return self.start(request["argv"], request["log"])
        if request["op"] == "link":
            subprocess.run(["bridge", "link", "set", "dev", f"server{request['index']}", "state",
                            str(request["state"])], check=True)
            return {}
        return {"error": f"unknown request {request['op']}"}

    def serve(self):
        for line in sys.stdin:
            try:
                answer = self.handle(json.loads(line))
            except Exception as error:  # told to who asked
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)

    def clean(self):
        cgroups.kill(self.name)
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        cgroups.remove(self.name)


def main():
    keeper = GlusterKeeper(sys.argv[1])
    try:
        keeper.prepare()
        print(json.dumps({"pid": os.getpid()}), flush=True)
        keeper.serve()
    finally:
        keeper.clean()


if __name__ == "__main__":
    main()
