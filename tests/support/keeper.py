#!/usr/bin/python3
"""Keeps the namespaces of one node and starts its daemon. Started by node.py; lives as long as its standard input.

A mount namespace with an own tmpfs on /run, a network namespace with the bridge br0, and client network namespaces
on that bridge. Requests are JSON lines on standard input, answers and news JSON lines on standard output:

  {"op": "start", "argv": [...], "log": PATH}      -> {"pid": N}; later {"exited": N, "status": S}
  {"op": "client", "addresses": ["10.77.0.100/24"]} -> {"pid": N, "interface": NAME}: a process in the
                                                       new network namespace; the host end of its link
  news: {"notify": "READY=1"}                         what the daemon told its service manager

When standard input ends, also because who started it was killed, everything on the node is killed and removed.
"""

import fcntl
import json
import os
import selectors
import signal
import socket
import stat
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from support import cgroups, kernel  # noqa: E402

BRIDGE = "br0"
BRIDGE_ADDRESSES = ["10.77.0.1/24", "fd77::1/64"]


def ip(*arguments):
    result = subprocess.run(["ip", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {result.stdout.strip()}")


class Keeper:
    def __init__(self, name):
        self.name = name
        self.clients = 0
        self.holders = []
        self.children = []
        self.notify_address = f"\0{name}-notify"
        self.selector = selectors.DefaultSelector()

    def say(self, message):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def prepare(self):
        kernel.become_subreaper()
        cgroups.create(self.name)
        cgroups.create(f"{self.name}-node")
        cgroups.create(f"{self.name}-clients")
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
        ip("link", "set", "lo", "up")
        ip("link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        for address in BRIDGE_ADDRESSES:
            ip("address", "add", address, "dev", BRIDGE, *(["nodad"] if ":" in address else []))
        ip("link", "set", BRIDGE, "up")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.notify_address)

    def start(self, argv, log):
        def prepare_child():
            cgroups.enter(f"{self.name}-node")
            os.setsid()
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                       "NOTIFY_SOCKET": "@" + self.notify_address[1:], "WATCHDOG_USEC": "4000000"}
        with open(log, "ab") as output:
            if stat.S_ISFIFO(os.fstat(output.fileno()).st_mode):  # each line is a packet: see e2e/held_log.py
                fcntl.fcntl(output, fcntl.F_SETFL, fcntl.fcntl(output, fcntl.F_GETFL) | os.O_DIRECT)
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
                                     preexec_fn=prepare_child, close_fds=True)
        self.children.append(child)  # or subprocess would reap it behind reap()
        return child.pid

    def client(self, addresses):
        self.clients += 1
        mine, theirs = f"client{self.clients}", "eth0"
        # It lives until its standard input, a pipe of ours, ends.
        holder = subprocess.Popen(["unshare", "--net", "--", "sh", "-c", "echo; exec cat"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  preexec_fn=lambda: cgroups.enter(f"{self.name}-clients"))
        holder.stdout.readline()  # the namespace is there
        self.holders.append(holder)
        pid = str(holder.pid)
        ip("link", "add", mine, "type", "veth", "peer", "name", theirs, "netns", pid)
        ip("link", "set", mine, "master", BRIDGE, "up")
        for arguments in ([["link", "set", "lo", "up"], ["link", "set", theirs, "up"]] +
                          [["address", "add", a, "dev", theirs, *(["nodad"] if ":" in a else [])] for a in addresses]):
            subprocess.run(["nsenter", "-t", pid, "-n", "ip", *arguments], check=True)
        return {"pid": holder.pid, "interface": mine}

    def reap(self):
        known = {holder.pid for holder in self.holders}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid not in known:
                self.say({"exited": pid, "status": status})

    def handle(self, line):
        request = json.loads(line)
        try:
            if request["op"] == "start":
                self.say({"pid": self.start(request["argv"], request["log"])})
            elif request["op"] == "client":
                self.say(self.client(request["addresses"]))
            else:
                self.say({"error": f"unknown request {request['op']}"})
        except Exception as error:  # told to who asked
            self.say({"error": f"{type(error).__name__}: {error}"})

    def run(self):
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        self.selector.register(0, selectors.EVENT_READ, "requests")
        self.selector.register(wake_read, selectors.EVENT_READ, "children")
        self.selector.register(self.notify, selectors.EVENT_READ, "notify")
        pending = b""
        while True:
            for key, _ in self.selector.select():
                if key.data == "children":
                    try:
                        os.read(wake_read, 4096)
                    except BlockingIOError:
                        pass
                elif key.data == "notify":
                    for text in self.notify.recv(4096).decode(errors="replace").splitlines():
                        self.say({"notify": text})
                else:
                    data = os.read(0, 65536)
                    if not data:
                        return
                    pending += data
                    *lines, pending = pending.split(b"\n")
                    for line in lines:
                        self.handle(line)
            self.reap()

    def clean(self):
        signal.set_wakeup_fd(-1)
        # The daemon before its containers, so that it restores nothing; then what others have made in the node's name.
        own = [f"{self.name}-node", self.name, f"{self.name}-clients"]
        names = own + sorted(cgroups.beginning_with(f"{self.name}-") - set(own))
        for name in names:
            cgroups.kill(name)
        # Daemon and loggers are children now; a last round for what was orphaned by the kill.
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        for name in names:
            cgroups.remove(name)


def main():
    keeper = Keeper(sys.argv[1])
    try:
        keeper.prepare()
        keeper.say({"pid": os.getpid()})
        keeper.run()
    finally:
        keeper.clean()


if __name__ == "__main__":
    main()
