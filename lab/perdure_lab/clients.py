"""Clients of containers. Their sockets live in the network namespace of a client; they themselves are threads here."""

import fcntl
import json
import select
import socket
import struct
import termios
import threading
import time

from . import interruptions, kernel

_SO_TIMESTAMPNS = 35  # asm-generic/socket.h: the kernel's time of arrival with every datagram
TIMEOUT = 30.0


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Client:
    """A network namespace on the bridge, kept by process `pid`; `interface` is the bridge's port."""

    def __init__(self, pid, addresses, interface):
        self.pid = pid
        self.addresses = addresses
        self.interface = interface
        self.reached = set()

    def socket(self, family, kind=socket.SOCK_STREAM):
        with kernel.network_namespace(self.pid):
            return socket.socket(family, kind)

    def connect(self, address, port, timeout=TIMEOUT):
        """A program that has only been started may not listen yet: who has never been reached may refuse for so long. With the
        timeout None what is then done with the connection waits for ever."""
        end = time.monotonic() + (TIMEOUT if timeout is None else timeout)
        while True:
            connection = self.socket(family_of(address))
            connection.settimeout(timeout)
            try:
                connection.connect((address, port))
            except ConnectionRefusedError:
                connection.close()
                if (address, port) in self.reached or time.monotonic() >= end:
                    raise
                time.sleep(0.02)
                continue
            self.reached.add((address, port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection

    def lines(self, address, port, timeout=TIMEOUT):
        return Lines(self.connect(address, port, timeout))

    def ticker(self, address):
        """Listens for the datagrams of programs/ticker.py at this client's address of the family of `address`."""
        own = next(a for a in self.addresses if family_of(a) == family_of(address))
        return Ticker(self.socket(family_of(own), socket.SOCK_DGRAM), own)


class Lines:
    """A TCP connection on which lines are asked and answered."""

    def __init__(self, connection):
        self.connection = connection
        self.pending = b""

    def send(self, line):
        self.connection.sendall(line.encode() + b"\n")

    def receive(self):
        while b"\n" not in self.pending:
            data = self.connection.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()

    def ask(self, line):
        self.send(line)
        return self.receive()

    def ask_json(self, line):
        return json.loads(self.ask(line))

    def acknowledged(self):
        """Whether the other side's kernel has everything that was sent (tcp(7): SIOCOUTQ)."""
        unsent = bytearray(4)
        fcntl.ioctl(self.connection, termios.TIOCOUTQ, unsent)
        return struct.unpack("i", unsent)[0] == 0

    def reset_within(self, seconds):
        """Waits for the end of the connection without sending; "reset", "closed" or None if it goes on."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self.connection.settimeout(max(0.001, end - time.monotonic()))
                if not self.connection.recv(65536):
                    return "closed"
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            pass
        return None

    def close(self):
        self.connection.close()


class Ticker:
    """Receives numbered datagrams and keeps (kernel's time of arrival in ns, number) of each."""

    def __init__(self, own_socket, address):
        self.socket = own_socket
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((address, 0))
        self.address, self.port = self.socket.getsockname()[:2]
        self.arrivals = []
        self.changed = threading.Condition()
        self.stopping = False
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        while not self.stopping:
            if not poll.poll(100):
                continue
            batch = []
            try:
                while True:
                    data, ancillary, _, _ = self.socket.recvmsg(64, 64, socket.MSG_DONTWAIT)
                    seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
                    batch.append((seconds * 1_000_000_000 + nanoseconds, struct.unpack("<Q", data[:8])[0]))
            except BlockingIOError:
                pass
            with self.changed:
                self.arrivals += batch
                self.changed.notify_all()

    def wait_for(self, condition, what, deadline=TIMEOUT):
        """`condition(arrivals)` is true."""
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self.arrivals), deadline):
                raise TimeoutError(f"after {deadline:.0f} s: {what}; {len(self.arrivals)} datagrams so far")

    def count(self):
        with self.changed:
            return len(self.arrivals)

    def snapshot(self):
        with self.changed:
            return list(self.arrivals)

    def mark(self):
        """For interruption(): the last arrival until now."""
        return max(0, self.count() - 1)

    def interruption(self, mark=0):
        """See interruptions.py."""
        return interruptions.interruption(self.snapshot(), mark)

    def setback(self, mark=0):
        return interruptions.setback(self.snapshot(), mark)

    def longest_gap_ms(self, since=0):
        """Between two arrivals, of those from index `since` on."""
        arrivals = self.snapshot()[since:]
        return max((b[0] - a[0]) / 1e6 for a, b in zip(arrivals, arrivals[1:]))

    def close(self):
        self.stopping = True
        self.thread.join()
        self.socket.close()


def now_ns():
    """On the clock of the times of arrival."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
