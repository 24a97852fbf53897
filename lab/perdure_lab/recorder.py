#!/usr/bin/python3
"""Records every frame that enters the LAN and speaks for one of some addresses. Started by monitor.py:

    recorder.py KEEPER-PID RECORDS-DESCRIPTOR ADDRESS...      MAC, IPv4 and IPv6 addresses

A frame speaks for an address that is its source: of Ethernet, IPv4 or IPv6, the sender of ARP, the target of a neighbour
advertisement. What a port is given by the switch is not recorded, nor what the switch's rules do to a frame: it counts that it
was sent. The kernel filters, and writes what is left into a ring that a process without processor time for seconds does not
lose; a frame that finds no room is counted.

Writes one line of JSON on standard output when it records, and one for each line that it reads, when all that had come before is
in the file of records: {"frames": N, "dropped": N, "ports": {INDEX: NAME}}. It ends with its standard input.
"""

import ctypes
import ipaddress
import json
import mmap
import os
import select
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from perdure_lab import kernel, switch  # noqa: E402

RECORD = struct.Struct("<QI6sBxI")  # CLOCK_MONOTONIC in ns, index of the port, source MAC, kind, length
KINDS = ("arp", "nd", "ip", "other")
MAX_FRAMES = 1 << 22  # of 24 bytes each: 100 MB

# linux/if_packet.h, linux/if_ether.h
_EVERY_PROTOCOL = 3
_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _PACKET_TIMESTAMP = 263, 5, 6, 10, 17
_TPACKET_V2, _STATUS_KERNEL, _STATUS_USER, _OUTGOING = 1, 0, 1, 4
_HEADER = struct.Struct("IIIHHII")  # status, length, captured, start of the frame, of what it carries, seconds, nanoseconds
_PORT_AT = 32 + 4  # of the address behind the header: the interface's index
_SOFTWARE_STAMPS, _SO_TIMESTAMPNS, _SO_ATTACH_FILTER = 1 << 4, 35, 26
_CAPTURED, _SLOT = 96, 256  # bytes of a frame that are looked at, and what they take with headers
_BLOCK, _BLOCKS = 1 << 20, 32
_SLOTS = _BLOCKS * (_BLOCK // _SLOT)
_PACE = 0.005  # seconds between two looks into the ring: one wake-up for many frames

# linux/rtnetlink.h
_NEW_LINK, _GET_LINK, _DUMP_REQUEST, _GROUP_LINK, _NAME = 16, 18, 0x301, 1, 3


# ---- The filter (classic BPF, linux/filter.h) ----

_LD, _LDH, _LDB, _JEQ, _RET = 0x20, 0x28, 0x30, 0x15, 0x06
_PACKET_TYPE, _INTERFACE = 0xfffff000 + 4, 0xfffff000 + 8  # SKF_AD_OFF
_ARP, _IPV4, _IPV6, _ICMPV6, _NEIGHBOUR_ADVERTISEMENT = 0x806, 0x800, 0x86dd, 58, 136


class Assembler:
    """Jumps go to labels ahead."""

    def __init__(self):
        self.lines, self.labels = [], {}

    def load(self, code, at):
        self.lines.append((code, at, None, None))

    def equal(self, value, yes=None, no=None):
        """None: the next line."""
        self.lines.append((_JEQ, value, yes, no))

    def give(self, value):
        self.lines.append((_RET, value, None, None))

    def label(self, name):
        self.labels[name] = len(self.lines)

    def equal_bytes(self, at, data, yes, no):
        """The bytes of the frame from `at` on are `data`."""
        parts = [(code, offset, size) for code, size in ((_LD, 4), (_LDH, 2))
                 for offset in range(0 if size == 4 else len(data) // 4 * 4, len(data) // size * size, size)]
        for number, (code, offset, size) in enumerate(parts):
            self.load(code, at + offset)
            last = number == len(parts) - 1
            self.equal(int.from_bytes(data[offset:offset + size], "big"), yes if last else None, no)

    def bytes(self):
        def jump(line, label):
            return 0 if label is None else self.labels[label] - line - 1
        return b"".join(struct.pack("HBBI", code, jump(number, yes), jump(number, no), value)
                        for number, (code, value, yes, no) in enumerate(self.lines))


def make_filter(macs, ipv4, ipv6, bridge):
    """What enters by a port and speaks for one of the addresses (bytes)."""
    it, count = Assembler(), 0

    def any_of(at, addresses):
        nonlocal count
        for address in addresses:
            count += 1
            it.equal_bytes(at, address, "take", f"other{count}")
            it.label(f"other{count}")
    it.load(_LD, _PACKET_TYPE)
    it.equal(_OUTGOING, "drop")
    it.load(_LD, _INTERFACE)
    it.equal(bridge, "drop")
    any_of(6, macs)
    it.load(_LDH, 12)
    it.equal(_ARP, "arp")
    it.equal(_IPV4, "ipv4")
    it.equal(_IPV6, "ipv6", "drop")
    it.label("arp")
    any_of(28, ipv4)
    it.give(0)
    it.label("ipv4")
    any_of(26, ipv4)
    it.give(0)
    it.label("ipv6")
    any_of(22, ipv6)
    it.load(_LDB, 20)
    it.equal(_ICMPV6, None, "drop")
    it.load(_LDB, 54)
    it.equal(_NEIGHBOUR_ADVERTISEMENT, None, "drop")
    any_of(62, ipv6)
    it.label("drop")
    it.give(0)
    it.label("take")
    it.give(_CAPTURED)
    return it.bytes()


def kind_of(frame):
    protocol = frame[12:14]
    if protocol == b"\x08\x06":
        return 0
    if protocol == b"\x86\xdd" and len(frame) > 54 and frame[20] == _ICMPV6 and 133 <= frame[54] <= 137:
        return 1
    return 2 if protocol in (b"\x08\x00", b"\x86\xdd") else 3


# ---- The names of ports ----

class Ports:
    """Names by index, also of ports that are gone: a node that boots again has another index."""

    def __init__(self):
        self.names = {}
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((0, _GROUP_LINK))
        self._ask_for_all()

    def _ask_for_all(self):
        self.socket.send(struct.pack("IHHIIBxHiII", 32, _GET_LINK, _DUMP_REQUEST, 0, 0, 0, 0, 0, 0, 0))

    def hear(self):
        while True:
            try:
                data = self.socket.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: some were lost
                self._ask_for_all()
                continue
            while len(data) >= 16:
                size, kind = struct.unpack_from("IH", data)
                if kind == _NEW_LINK:
                    self._learn(data[16:size])
                data = data[(size + 3) & ~3:]

    def _learn(self, message):
        index = struct.unpack_from("i", message, 4)[0]
        attributes = message[16:]
        while len(attributes) >= 4:
            size, kind = struct.unpack_from("HH", attributes)
            if kind == _NAME:
                self.names[index] = attributes[4:size].rstrip(b"\0").decode()
            attributes = attributes[max(4, (size + 3) & ~3):]


# ---- The frames ----

class Recorder:
    def __init__(self, records, addresses):
        self.records, self.frames, self.dropped, self.slot = records, 0, 0, 0
        self.offset = None
        self.ports = Ports()
        # Of every port, also of those that are plugged later, from their first frame on.
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
        self._set_up(addresses)
        self.ring = mmap.mmap(self.socket.fileno(), _BLOCK * _BLOCKS)
        self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)  # what came before the ring was there does not count

    def _set_up(self, addresses):
        parsed = [address if isinstance(address, bytes) else ipaddress.ip_address(address).packed for address in addresses]
        program = make_filter(*([one for one in parsed if len(one) == size] for size in (6, 4, 16)),
                              socket.if_nametoindex(switch.BRIDGE))
        memory = ctypes.create_string_buffer(program, len(program))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER,
                               struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(memory)))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)  # or frames would be stamped when they are looked at
        self.socket.setsockopt(_SOL_PACKET, _PACKET_TIMESTAMP, _SOFTWARE_STAMPS)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, struct.pack("IIII", _BLOCK, _BLOCKS, _SLOT, _SLOTS))

    def _measure_offset(self):
        """From the monotonic clock to the wall clock, which stamps frames and may be set at any time."""
        best, window = None, 1 << 62
        for _ in range(5):
            before = time.monotonic_ns()
            wall = time.time_ns()
            after = time.monotonic_ns()
            if after - before < window:
                best, window = wall - (before + after) // 2, after - before
        # What is within the error of both readings is no change, or frames would change places.
        if self.offset is None or abs(best - self.offset) > window + 50_000:
            self.offset = best

    def drain(self):
        self._measure_offset()
        batch = bytearray()
        while True:
            at = self.slot * _SLOT
            status, length, captured, start, _, seconds, nanoseconds = _HEADER.unpack_from(self.ring, at)
            if not status & _STATUS_USER:
                break
            frame = self.ring[at + start:at + start + captured]
            port = struct.unpack_from("i", self.ring, at + _PORT_AT)[0]
            batch += RECORD.pack(seconds * 1_000_000_000 + nanoseconds - self.offset, port, frame[6:12], kind_of(frame), length)
            struct.pack_into("I", self.ring, at, _STATUS_KERNEL)
            self.slot = (self.slot + 1) % _SLOTS
        self._keep(batch)
        _, dropped = struct.unpack("II", self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))  # since the last time
        self.dropped += dropped

    def _keep(self, batch):
        room = max(0, MAX_FRAMES - self.frames) * RECORD.size
        self.dropped += max(0, len(batch) - room) // RECORD.size
        del batch[room:]
        self.frames += len(batch) // RECORD.size
        while batch:
            del batch[:os.write(self.records, batch)]

    def say(self):
        print(json.dumps({"frames": self.frames, "dropped": self.dropped, "ports": self.ports.names}), flush=True)

    def run(self):
        poll = select.poll()
        for one in (0, self.ports.socket.fileno(), self.socket.fileno()):
            poll.register(one, select.POLLIN)
        self.say()
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            questions = os.read(0, 4096) if 0 in ready else None
            self.ports.hear()
            self.drain()
            if questions == b"":
                return
            for _ in range(questions.count(b"\n") if questions else 0):
                self.say()
            time.sleep(_PACE)


def main():
    keeper, records, *addresses = sys.argv[1:]
    kernel.set_process_name("lab-recorder")
    with kernel.network_namespace(int(keeper)):
        Recorder(int(records), [bytes.fromhex(a.replace(":", "")) if a.count(":") == 5 and len(a) == 17 else a
                                for a in addresses]).run()


if __name__ == "__main__":
    main()
