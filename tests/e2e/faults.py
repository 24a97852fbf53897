"""Finding the moment for a fault: what perdured is doing right now, seen from outside."""

import os
import threading
import time

from support import cgroups


def is_frozen(container):
    """Whether its processes are stopped: by the cgroup's freezer, or one by one as CRIU does it (ptrace)."""
    directory = os.path.join(cgroups.v2_mount(), container.node.name, container.name)
    try:
        if "frozen 1" in open(os.path.join(directory, "cgroup.events")).read():
            return True
        for pid in cgroups.processes(f"{container.node.name}/{container.name}"):
            # The state follows the name, which is in parentheses.
            if open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] in "tT":
                return True
    except OSError:
        pass
    return False


def processes_called(name, cgroup):
    found = []
    for pid in cgroups.processes(cgroup):
        try:
            if open(f"/proc/{pid}/comm").read().strip() == name:
                found.append(pid)
        except OSError:
            pass
    return found


def criu_is_dumping(container):
    return is_frozen(container) and bool(processes_called("criu", container.node.daemon_cgroup()))


def capsule_is_being_written(container):
    """A file in the durable store that is not under its final name yet."""
    directory = os.path.join(container.node.state, "state", "capsules", container.name)
    return any(".capsule" in name and not name.endswith(".capsule") or name.startswith(".tmp") or ".tmp" in name
               for name in os.listdir(directory))


def criu_is_restoring(container):
    return bool(processes_called("criu", f"{container.node.name}/{container.name}"))


class At:
    """Does `action` as soon as `moment` is true, on a thread of its own that looks all the time."""

    def __init__(self, moment, action, deadline=60.0):
        self.hit = False
        self.error = None
        self.stopping = False
        self.thread = threading.Thread(target=self._watch, args=(moment, action, deadline), daemon=True)
        self.thread.start()

    def _watch(self, moment, action, deadline):
        end = time.monotonic() + deadline
        try:
            while not self.stopping and time.monotonic() < end:
                if moment():
                    action()
                    self.hit = True
                    return
        except Exception as error:  # shown by join()
            self.error = error

    def stop(self):
        self.stopping = True
        self.thread.join()
        if self.error:
            raise self.error
        return self.hit
