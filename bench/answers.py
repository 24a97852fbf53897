"""How soon a service answers again: attempts each few milliseconds, none of which waits for another."""

import math
import os
import random
import selectors
import socket
import threading
import time

STEP = 0.003
DEADLINE = 60.0


def percentile(values, share):
    """By nearest rank: the smallest value that is not exceeded by so large a share of them."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class FirstAnswer:
    """From now on tries to get an answer to `question` (bytes) from address:port; result() is the time of the first, on
    CLOCK_MONOTONIC. Answers for which `counts` is false are none: those of a process that was killed a moment ago, say."""

    def __init__(self, client, address, port, question, counts=lambda answer: True, step=STEP):
        self.client, self.target, self.question, self.counts, self.step = client, (address, port), question, counts, step
        self.at = None
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self):
        selector = selectors.DefaultSelector()
        end = time.monotonic() + DEADLINE
        due = time.monotonic()
        try:
            while self.at is None and time.monotonic() < end:
                if time.monotonic() >= due:
                    due = time.monotonic() + self.step
                    self._attempt(selector)
                for key, _ in selector.select(max(0, due - time.monotonic())):
                    self._progress(selector, key)
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()
            selector.close()

    def _attempt(self, selector):
        one = self.client.socket(socket.AF_INET)
        one.setblocking(False)
        one.connect_ex(self.target)
        selector.register(one, selectors.EVENT_WRITE, "connecting")

    def _progress(self, selector, key):
        one = key.fileobj
        try:
            if key.data == "connecting":
                error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "connect")
                one.send(self.question)
                selector.modify(one, selectors.EVENT_READ, "asked")
            else:
                answer, at = one.recv(256), time.monotonic()
                if not answer or not self.counts(answer):
                    raise ConnectionError("closed, or no answer that counts")
                self.at = at
        except OSError:
            selector.unregister(one)
            one.close()

    def result(self):
        self.thread.join()
        if self.at is None:
            raise TimeoutError(f"no answer from {self.target} in {DEADLINE:.0f} s")
        return self.at


class Ticks:
    """Receives the readings of probe.c: the clock of the container itself, not that of the network between."""

    def __init__(self, client):
        self.socket = client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((client.addresses[0], 0))
        self.socket.settimeout(0.2)
        self.address, self.port = self.socket.getsockname()
        self.readings = []
        self.stopping = False
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        while not self.stopping:
            try:
                data = self.socket.recv(64)
            except TimeoutError:
                continue
            self.readings.append(int.from_bytes(data[8:16], "little") / 1e6)

    def mark(self):
        return max(0, len(self.readings) - 1)

    def longest_gap_ms(self, since):
        """Between two readings; what is beyond the period is time in which the container did not run."""
        readings = self.readings[since:]
        return max(b - a for a, b in zip(readings, readings[1:]))

    def wait_for_more(self, number):
        wanted = len(self.readings) + number
        end = time.monotonic() + DEADLINE
        while len(self.readings) < wanted:
            if time.monotonic() > end:
                raise TimeoutError("the probe in the container is silent")
            time.sleep(0.001)

    def close(self):
        self.stopping = True
        self.thread.join()
        self.socket.close()


class RedisLoad:
    """Fills a redis server and then sets random keys at a steady rate."""

    VALUE = 1000
    RATE = 1000  # per second

    def __init__(self, client, address, port, keys):
        self.client, self.address, self.port, self.keys = client, address, port, keys
        self.stopping = False
        self.thread = None

    def _set(self, key, value):
        name = b"key:%08d" % key
        return b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(name), name, len(value), value)

    def fill(self):
        connection = self.client.connect(self.address, self.port)
        file = connection.makefile("rb")
        for first in range(0, self.keys, 500):
            count = min(500, self.keys - first)
            connection.sendall(b"".join(self._set(first + i, os.urandom(self.VALUE)) for i in range(count)))
            for _ in range(count):
                file.readline()
        connection.close()

    def start(self):
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping:
            try:
                connection = self.client.connect(self.address, self.port, 1)
                file = connection.makefile("rb")
                while not self.stopping:
                    batch = 10
                    connection.sendall(b"".join(self._set(random.randrange(self.keys), os.urandom(self.VALUE))
                                                for _ in range(batch)))
                    for _ in range(batch):
                        if not file.readline():
                            raise ConnectionError("closed")
                    time.sleep(batch / self.RATE)
            except OSError:
                time.sleep(0.01)

    def stop(self):
        self.stopping = True
        if self.thread:
            self.thread.join()
