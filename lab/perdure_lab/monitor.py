"""Who speaks for a container on the LAN, as the switch sees it: no node has a say in it.

    with lab.monitor(container, asking_from=client) as monitor:
        ...
        monitor.assert_single_speaker()

Times are nanoseconds of CLOCK_MONOTONIC, taken by the kernel when the frame came in. What a node sends that has lost its power
(`kill`) does not count; what one sends that is cut does, though nobody hears it: it ought to know better.
"""

import collections
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from . import kernel
from .clients import family_of
from .host import DEADLINE, Container, until
from .recorder import KINDS, RECORD
from .remains import LabError

MAX_ADDRESSES = 16  # the filter's jumps reach no further
ASKING = 0.02       # seconds from one question to the next

Frame = collections.namedtuple("Frame", "at port mac kind length")
Turn = collections.namedtuple("Turn", "port first last count")             # frames of one port, one after the other
Silence = collections.namedtuple("Silence", "former port begin ms")        # where the speaker changed


class Monitor:
    """`whom`: containers, or MAC, IPv4 and IPv6 addresses of one. `asking_from`: a client that asks for the IP addresses all
    the time (ARP, neighbour solicitation), so that whoever has them speaks."""

    def __init__(self, lab, *whom, asking_from=None):
        self.lab = lab
        self.addresses = [address for one in whom for address in _addresses_of(one)]
        if not 1 <= len(self.addresses) <= MAX_ADDRESSES:
            raise LabError(f"a monitor of {len(self.addresses)} addresses", f"give 1 to {MAX_ADDRESSES}")
        self._frames, self._read, self._handed_back = [], 0, []
        self._file = tempfile.TemporaryFile()
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recorder.py")
        keeper = lab.connection.ask("describe")["keeper_pid"]
        self._process = subprocess.Popen(
            [sys.executable, "-IB", program, str(keeper), str(self._file.fileno()), *self.addresses],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[self._file.fileno()], preexec_fn=lab.enter_clients_cgroup)
        self._asker = None
        self._hear()
        if asking_from is not None:
            self._asker = _Asker(asking_from, [a for a in self.addresses if not _is_mac(a)])

    def _hear(self):
        said = self._process.stdout.readline()
        if not said:
            raise LabError(f"the recorder of lab '{self.lab.name}' ended by itself: exit code {self._process.wait()}",
                           "its last words are on standard error")
        return json.loads(said)

    # ---- What was seen ----

    def frames(self, since=0):
        """All until now, in the order of time. Fails if any were lost: nothing can be said then."""
        if self._process is not None:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
            said = self._hear()
            assert said["dropped"] == 0, f"the monitor has lost {said['dropped']} frames"
            self._load(said)
        if not since:
            return self._frames
        return [frame for frame in self._frames if frame.at >= since]

    def _load(self, said):
        size = said["frames"] * RECORD.size
        data = os.pread(self._file.fileno(), size - self._read, self._read)
        self._read += len(data)
        ports = said["ports"]
        air = {port: spans for port, spans in self.lab.connection.ask("on_air")["ports"].items()}
        for at, index, mac, kind, length in RECORD.iter_unpack(data):
            port = ports.get(str(index), f"port {index}")
            if _is_on_air(air.get(port), at):
                self._frames.append(Frame(at, port, mac.hex(":"), KINDS[kind], length))
        self._frames.sort(key=lambda frame: frame.at)

    def speakers(self, since=0):
        """[(port, first, last, count)]: who spoke, one after the other."""
        turns = []
        for frame in self.frames(since):
            if turns and turns[-1].port == frame.port:
                turns[-1] = turns[-1]._replace(last=frame.at, count=turns[-1].count + 1)
            else:
                turns.append(Turn(frame.port, frame.at, frame.at, 1))
        return turns

    def path(self, since=0):
        """The ports that spoke, one after the other."""
        return [turn.port for turn in self.speakers(since)]

    def kinds(self, port):
        """What it said: "arp", "nd", "ip", "other"."""
        return {frame.kind for frame in self.frames() if frame.port == port}

    def silences(self, threshold_ms=0.0, since=0):
        """At each change of the speaker: how long nobody spoke, if it was so long."""
        turns = self.speakers(since)
        found = [Silence(a.port, b.port, a.last, (b.first - a.last) / 1e6) for a, b in zip(turns, turns[1:])]
        return [silence for silence in found if silence.ms >= threshold_ms]

    def wait_for_speaker(self, *ports, since=0, deadline=DEADLINE):
        """Until one of the ports (nodes, their numbers, names) has spoken since then; returns its name."""
        names = [_name(port) for port in ports]
        until(lambda: set(names) & set(self.path(since)), f"none of {names} speaks for {self.addresses}: {self.path()}", deadline, 0.05)
        return next(name for name in self.path(since) if name in names)

    # ---- Judgement ----

    def handed_back(self, port):
        """From now on the port may speak once more though others have spoken after it."""
        self._handed_back.append((_name(port), time.monotonic_ns()))

    def returns(self, since=0):
        """Turns of a port that speaks again after another has spoken, without handed_back(): two at a time, or the former."""
        marks, found = list(self._handed_back), []
        spoke, changed = set(), 0  # when the last new speaker began
        for turn in self.speakers(since):
            if turn.port in spoke:
                mark = next((one for one in marks if one[0] == turn.port and changed <= one[1] <= turn.first), None)
                if mark is None:
                    found.append(turn)
                    continue
                marks.remove(mark)
            spoke.add(turn.port)
            changed = turn.first
        return found

    def assert_single_speaker(self, path=None, since=0):
        """At no time did two speak: whoever has been followed by another is silent. `path`: exactly these, one after the other."""
        turns = self.speakers(since)
        if path is not None:
            names = [_name(port) for port in path]
            assert [turn.port for turn in turns] == names, f"spoke: {_words(turns)}; wanted: {names}"
        else:
            back = self.returns(since)
            assert not back, f"spoke again: {_words(back)}; of all: {_words(turns)}"

    def now(self):
        """For `since`."""
        return time.monotonic_ns()

    def is_recording(self):
        return self._process is not None

    def close(self):
        """Ends the recording; what was seen can still be asked."""
        try:
            if self._process is not None:
                self.frames()
        finally:
            self.abandon()

    def abandon(self):
        """Ends the recording; what was not asked for until now is lost."""
        if self._asker is not None:
            self._asker.close()
            self._asker = None
        if self._process is not None:
            process, self._process = self._process, None
            process.stdin.close()
            process.wait(DEADLINE)
            process.stdout.close()
            self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self.close()
        except (AssertionError, LabError, OSError):
            if kind is None:  # or it would hide why the block ended
                raise


def _name(port):
    return f"node{port}" if isinstance(port, int) else getattr(port, "name", port)


def _is_mac(address):
    return address.count(":") == 5 and len(address) == 17


def _addresses_of(one):
    if isinstance(one, Container):
        status = one.inspect()
        return [status["mac_address"], *(address.split("/")[0] for address in status["addresses"])]
    if not _is_mac(one):
        try:
            ipaddress.ip_address(one)
        except ValueError:
            raise LabError(f"'{one}' is no address", "give a MAC, IPv4 or IPv6 address") from None
    return [one]


def _is_on_air(spans, at):
    """`spans`: [plugged, silenced or None] of a node, the oldest may be forgotten; None: no node."""
    if not spans or at < spans[0][0]:
        return True
    return any(begin <= at and (end is None or at < end) for begin, end in spans)


def _words(turns):
    if not turns:
        return "nobody"
    zero = turns[0].first
    return ", ".join(f"{turn.port} ({(turn.first - zero) / 1e6:.1f} to {(turn.last - zero) / 1e6:.1f} ms, {turn.count} frames)"
                     for turn in turns)


# ---- Questions ----

class _Asker:
    """Asks everybody for the addresses, all the time."""

    def __init__(self, client, addresses):
        with kernel.network_namespace(client.pid):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind(("eth0", 0))
        mac = self.socket.getsockname()[4]
        own = [next(a for a in client.addresses if family_of(a) == family_of(b)) for b in addresses]
        self.questions = [question(mac, *(socket.inet_pton(family_of(a), a) for a in pair)) for pair in zip(own, addresses)]
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self):
        while not self.closing.wait(ASKING):
            try:
                for one in self.questions:
                    self.socket.send(one)
            except OSError:  # the client is gone
                return

    def close(self):
        self.closing.set()
        self.thread.join()
        self.socket.close()


def question(mac, own, wanted):
    """The frame that asks everybody who has the address: ARP, or a neighbour solicitation (RFC 4861)."""
    if len(wanted) == 4:
        return b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + own + bytes(6) + wanted
    group = bytes.fromhex("ff0200000000000000000001ff") + wanted[13:]
    body = bytes(4) + wanted + b"\x01\x01" + mac
    pseudo = own + group + struct.pack("!II", len(body) + 4, socket.IPPROTO_ICMPV6) + b"\x87\x00\x00\x00" + body
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    packet = b"\x87\x00" + struct.pack("!H", ~total & 0xffff) + body
    return (b"\x33\x33" + group[12:] + mac + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(packet), socket.IPPROTO_ICMPV6, 255) +
            own + group + packet)
