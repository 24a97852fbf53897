"""What tests of moves between nodes need: a cluster whose CRIU can be held and made to fail, evidence from the LAN of who speaks for
an address, streams that miss no byte, and where a container and what is left of one are."""

import hashlib
import os
import signal
import socket
import threading
import time

from lab_specs import PORT, lab_spec
from pump import pieces
from support import cgroups
from support.node import Container, until

from perdure_lab import Lab

# On a node /run is its own. Restores wait while /run/hold-criu is there, and fail while /run/fail-criu is.
_CRIU = """#!/bin/sh
case " $* " in
*" restore "*)
  while [ -e /run/hold-criu ]; do touch /run/criu-waits; sleep 0.02; done
  [ -e /run/fail-criu ] && exit 1
esac
exec criu "$@"
"""


def make_cluster(build, directory, nodes=3):
    criu = os.path.join(directory, "criu-that-waits")
    with open(criu, "w") as file:
        file.write(_CRIU)
    os.chmod(criu, 0o755)
    return Lab(nodes=nodes, cluster=True, build=build, options=["--criu", criu, "--log-level", "debug"])


def spec_of(name, number, *command, **sections):
    """One that captures only when it is asked to."""
    return lab_spec(name, number, *command, **{"checkpoint": {"interval": "1h"}, "stop": {"deadline": "100ms"}, **sections})


def inside(node, pid, path):
    """A file of the node's, seen from here."""
    return f"/proc/{pid}/root{path}"


def flag(node, name, wanted=True):
    path = inside(node, node.describe()["pid"], f"/run/{name}")
    if wanted:
        open(path, "w").close()
    elif os.path.exists(path):
        os.unlink(path)


def flagged(node, name):
    return os.path.exists(inside(node, node.describe()["pid"], f"/run/{name}"))


# ---- Where it is ----

def up(lab):
    return [node for node in lab.nodes.values() if node.describe()["state"] == "up" and node.daemon_runs()]


def inspect(lab, name, node=None):
    return (node or up(lab)[0]).ask("inspect", name)["container"]


def is_stood_by(status, nodes=None):
    ready = {row["node"] for row in status["standbys"] if row["state"] == "ready"}
    return status["phase"] == "running" and (ready if nodes is None else set(nodes) <= ready)


def wait_until_stood_by(lab, name, nodes=None, node=None):
    """... by these, or by somebody; returns its status."""
    seen = {}

    def look():
        seen.update(inspect(lab, name, node))
        return seen if is_stood_by(seen, nodes) else None
    try:
        return until(look, "", step=0.05)
    except TimeoutError:
        raise TimeoutError(f"'{name}' has no standby {nodes or ''}: {seen}") from None


def stood_by_on(lab, name):
    """Numbers of the nodes that may take over."""
    return [int(row["node"].removeprefix("node")) for row in inspect(lab, name)["standbys"] if row["state"] == "ready"]


def run(lab, number, spec, nodes=None):
    """Started on the node, and stood by."""
    container = lab.nodes[number].run(spec)
    wait_until_stood_by(lab, spec["name"], nodes, lab.nodes[number])
    return container


def _is_frozen(pid):
    """By its cgroup or one above."""
    with open(f"/proc/{pid}/cgroup") as file:
        path = next(line for line in file if line.startswith("0::"))[3:].strip()
    while path not in ("", "/"):
        try:
            with open(f"{cgroups.v2_mount()}{path}/cgroup.freeze") as file:
                if file.read().strip() == "1":
                    return True
        except FileNotFoundError:
            pass
        path = os.path.dirname(path)
    return False


def copies(lab, name):
    """{node's number: whether all of it is frozen} of the nodes on which processes of the container are."""
    found = {}
    for number, node in lab.nodes.items():
        frozen = []
        for pid in cgroups.processes(f"{node.containers_cgroup}/{name}"):
            try:
                frozen.append(_is_frozen(pid))
            except (OSError, StopIteration):
                pass
        if frozen:
            found[number] = all(frozen)
    return found


def wait_until_only_on(lab, name, number):
    until(lambda: copies(lab, name) == {number: False}, f"'{name}' is not on node {number} alone: {copies(lab, name)}")
    assert Container(lab.nodes[number], name).inspect()["node"] == f"node{number}"


def etcdctl(node, *arguments):
    identity = os.path.join(node.state, "cluster")
    pem = os.path.join(identity, "node.pem")
    return node.execute("etcdctl", "--endpoints", f"https://{node.address}:7401", "--cacert",
                        os.path.join(identity, "authority.crt"), "--cert", pem, "--key", pem, *arguments).stdout


def keys(node):
    return [line for line in etcdctl(node, "get", "--prefix", "/perdure/1/", "--keys-only").splitlines() if line]


def what_is_left(lab, name, address):
    """Of a container that is removed, anywhere."""
    left = [key for key in keys(up(lab)[0]) if key.endswith((f"/{name}", f"/{address}"))]
    for node in lab.nodes.values():
        for directory, directories, files in os.walk(node.state):
            directories[:] = [d for d in directories if d not in ("etcd", "images", "merged")]
            left += [os.path.join(directory, entry) for entry in directories + files if entry == name]
        left += [f"{mount}/{node.containers_cgroup}/{name}" for mount in cgroups.all_mounts()
                 if os.path.exists(f"{mount}/{node.containers_cgroup}/{name}")]
        pid = node.describe()["pid"]
        if pid is None:
            continue
        for path in ("/run/perdure/netns", "/run/perdure/runc", "/run/perdure/scratch"):
            if os.path.isdir(inside(node, pid, path)):
                left += [f"{node.name}:{path}/{entry}" for entry in os.listdir(inside(node, pid, path)) if name in entry]
        with open(f"/proc/{pid}/mountinfo") as file:
            left += [f"{node.name}: mount {line.split()[4]}" for line in file if f"/{name}" in line.split()[4]]
        links = node.execute("ip", "-o", "link", "show", "master", "br0").stdout.splitlines()
        left += [f"{node.name}: {line}" for line in links if ": pd-" in line]  # a bridge's own port for announcements stays
    return left


# ---- Moments ----

class Held:
    """The warm CRIU processes of a node stand still, so that a capture does not end. Whoever is to be captured must be warm."""

    def __init__(self, node):
        self.pids = until(lambda: self._workers(node), f"no CRIU waits on {node.name}")
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    @staticmethod
    def _workers(node):
        found = []
        for pid in cgroups.processes(node.daemon_cgroup()):
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    if "\0swrk\0" in file.read():
                        found.append(pid)
            except OSError:
                pass
        return found

    def release(self):
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


def processes(node, program):
    """Of the node's perdured, by the name of their program."""
    found = []
    for pid in cgroups.processes(node.daemon_cgroup()):
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read().strip() == program:
                    found.append(pid)
        except OSError:
            pass
    return found


class Move(threading.Thread):
    """`perdure move` under way."""

    def __init__(self, node, name, target):
        super().__init__(daemon=True)
        self.node, self.arguments, self.result = node, ("move", name, f"node{target}", "--json"), None
        self.start()

    def run(self):
        try:
            self.result = self.node.try_cli(*self.arguments)
        except Exception as error:  # its host was killed
            self.result = error

    def end(self):
        self.join(90)
        assert not self.is_alive(), "the move does not end"
        return self.result


# ---- The LAN ----

class Speakers:
    """Which node speaks for the addresses, while somebody asks for them all the time."""

    def __init__(self, lab, client, *addresses):
        self.monitor = lab.monitor(*addresses, asking_from=client)

    def close(self):
        """The nodes that spoke, one after the other."""
        self.monitor.close()
        assert len({frame.mac for frame in self.monitor.frames()}) == 1, "one MAC address"
        return [int(port.removeprefix("node")) for port in self.monitor.path()]

    def kinds(self, number):
        return self.monitor.kinds(f"node{number}")


class Streams:
    """A download from pump.py and an upload to it, over one family, until finish()."""

    def __init__(self, client, address):
        self.client, self.address, self.seed = client, address, os.urandom(4).hex()
        self.received, self.sent, self.digest = [], 0, hashlib.sha256()
        self.stopping, self.errors = False, []
        self.life = client.lines(address, PORT).ask("life")
        self.down, self.up = client.connect(address, PORT), client.connect(address, PORT)
        self.down.sendall(f"download {self.seed}\n".encode())
        self.up.sendall(b"upload\n")
        self.threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in (self._download, self._upload)]
        for thread in self.threads:
            thread.start()

    def _run(self, one):
        try:
            one()
        except Exception as error:
            self.errors.append(f"{one.__name__}: {error!r}")

    def _download(self):
        while True:
            data = self.down.recv(1 << 15)
            if not data:
                return
            self.received.append(data)
            if not self.stopping:
                time.sleep(0.002)  # its sender has more than we take

    def _upload(self):
        for piece in pieces(f"up {self.seed}"):
            if self.stopping:
                break
            self.up.sendall(piece)
            self.sent += len(piece)
            self.digest.update(piece)
        self.up.shutdown(socket.SHUT_WR)

    def progress(self):
        return len(self.received), self.sent

    def moves(self):
        """Whether anything comes down within a moment."""
        before = self.progress()[0]
        time.sleep(0.3)
        return self.progress()[0] != before

    def wait_for_progress(self):
        before = self.progress()
        until(lambda: self.errors or all(now > then for now, then in zip(self.progress(), before)),
              f"no bytes flow: {self.progress()}")
        assert self.errors == [], self.errors

    def abandon(self):
        """They have been reset, or are now."""
        self.stopping = True
        for connection in (self.down, self.up):
            connection.close()

    def finish(self):
        """Every byte came, once and in order, both ways, and it is the same life."""
        self.wait_for_progress()
        self.stopping = True
        self.down.shutdown(socket.SHUT_WR)
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "it does not end"
        assert self.errors == [], self.errors
        data = b"".join(self.received)
        whole = b""
        if data:
            wanted = pieces(self.seed)
            whole = b"".join(next(wanted) for _ in range(-(-len(data) // (1 << 14))))
        assert len(data) % (1 << 14) == 0 and data == whole, "the download is another one"
        self.up.settimeout(60)
        answer = b""
        while not answer.endswith(b"\n"):
            more = self.up.recv(100)
            assert more, "no answer to the upload"
            answer += more
        assert answer.decode().split() == [str(self.sent), self.digest.hexdigest()]
        assert self.client.lines(self.address, PORT).ask("life") == self.life
        return len(data), self.sent


# ---- The cluster of a file ----

class Clusters:
    """One cluster for many tests; another one, once a test has left it otherwise than it found it."""

    def __init__(self, build, directory, live):
        self.build, self.directory, self.live, self.lab = build, directory, live, None

    def get(self):
        if self.lab is None:
            self.lab = make_cluster(self.build, self.directory)
            self.lab.__enter__()
            self.live.append(self.lab)
        return self.lab

    def _is_as_before(self):
        if len(up(self.lab)) != len(self.lab.nodes) or self.lab.cuts():
            return False
        first = self.lab.nodes[1]
        return not first.names() and all(row["state"] == "ready" for row in first.ask("cluster", "status")["nodes"])

    def check(self):
        """After a test."""
        for node in up(self.lab):
            for name in ("hold-criu", "fail-criu", "criu-waits"):
                flag(node, name, False)
        try:
            if not self._is_as_before():
                self.drop()
        except Exception:  # it does not even answer
            self.drop()

    def drop(self):
        if self.lab is not None:
            lab, self.lab = self.lab, None  # also if it does not end
            self.live.remove(lab)
            lab.down()
