#!/usr/bin/python3
"""Process 1 of a lab's node: starts perdured when it is told to, reaps what ends, tells the keeper.

Standard input is a socket to the keeper (machine.py); when it ends, so does the host. Lines of JSON:

  {"token": T, "argv": [...], "environment": {...}, "log": PATH, "cgroup": PATH}
                                   -> {"token": T, "started": PID} or {"token": T, "error": TEXT}
  news: {"up": true}               once, when it can be told
        {"exited": PID, "status": S}    wait status of what it started, not of orphans
        {"notify": "READY=1"}      what perdured tells its service manager

PIDs are those of the node's PID namespace.
"""

import json
import os
import selectors
import signal
import socket
import subprocess

NOTIFY_ADDRESS = "\0perdure-lab-init"
PASSED_ON = ("READY=1", "STOPPING=1", "RELOADING=1")  # WATCHDOG=1 comes often, STATUS=... is in the log


class Init:
    def __init__(self):
        self.keeper = socket.socket(fileno=0)
        self.pending = b""
        self.children = {}

    def say(self, message):
        self.keeper.sendall(json.dumps(message).encode() + b"\n")

    def start(self, request):
        def prepare():
            with open(os.path.join(request["cgroup"], "cgroup.procs"), "w") as file:
                file.write("0")
            os.setsid()
        environment = dict(request["environment"], NOTIFY_SOCKET="@" + NOTIFY_ADDRESS[1:])
        try:
            with open(request["log"], "ab") as output:
                child = subprocess.Popen(request["argv"], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                         env=environment, preexec_fn=prepare, close_fds=True)
        except OSError as error:
            self.say({"token": request["token"], "error": f"start {request['argv'][0]}: {error}"})
            return
        self.children[child.pid] = child  # or subprocess would reap it behind reap()
        self.say({"token": request["token"], "started": child.pid})

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self.children.pop(pid, None)
            if child is not None:
                child.returncode = os.waitstatus_to_exitcode(status)
                self.say({"exited": pid, "status": status})

    def read_requests(self):
        """Returns whether the keeper is still there."""
        data = self.keeper.recv(65536)
        if not data:
            return False
        self.pending += data
        *lines, self.pending = self.pending.split(b"\n")
        for line in lines:
            self.start(json.loads(line))
        return True

    def run(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(NOTIFY_ADDRESS)
        wake_read, wake_write = os.pipe()
        for end in (wake_read, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(self.keeper, selectors.EVENT_READ, "keeper")
        selector.register(notify, selectors.EVENT_READ, "notify")
        selector.register(wake_read, selectors.EVENT_READ, "children")
        self.say({"up": True})
        while True:
            for key, _ in selector.select():
                if key.data == "children":
                    try:
                        os.read(wake_read, 4096)
                    except BlockingIOError:
                        pass
                elif key.data == "notify":
                    for text in notify.recv(4096).decode(errors="replace").splitlines():
                        if text in PASSED_ON:
                            self.say({"notify": text})
                elif not self.read_requests():
                    return
            self.reap()


if __name__ == "__main__":
    Init().run()
