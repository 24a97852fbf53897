"""Clients of a service that go through its failures: one that connects anew, one that wants its connection to survive. What they saw is
an Interruption (interruptions.py); Ticker in clients.py is a third one, which hears datagrams."""

import threading
import time

from .host import DEADLINE
from .interruptions import interruption, setback

ATTEMPT = 0.25  # seconds for one attempt to connect, or for one answer: then it is tried anew
RETRY = 0.005


class _Reader:
    """A thread that keeps readings (CLOCK_MONOTONIC)."""

    def __init__(self):
        self.readings = []
        self.changed = threading.Condition()
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _keep(self, value):
        with self.changed:
            self.readings.append((time.monotonic_ns(), value))
            self.changed.notify_all()

    def mark(self):
        """For interruption(): the last reading until now."""
        return max(0, len(self.readings) - 1)

    def interruption(self, mark=0):
        with self.changed:
            return interruption(list(self.readings), mark)

    def setback(self, mark=0):
        with self.changed:
            return setback(list(self.readings), mark)

    def wait_for_more(self, number=1, deadline=DEADLINE):
        """... readings than there are now; returns the last value."""
        with self.changed:
            wanted = len(self.readings) + number
            if not self.changed.wait_for(lambda: len(self.readings) >= wanted or self.end(), deadline) or self.end():
                raise TimeoutError(f"{number - wanted + len(self.readings)} of {number} answers in {deadline:.0f} s"
                                   + (f": {self.end()}" if self.end() else ""))
            return self.readings[-1][1]

    def end(self):
        """Why there will be no more readings; None: it goes on."""
        return None

    def close(self):
        self.stopping = True
        self.thread.join()


class ReconnectingClient(_Reader):
    """Asks one question after the other on one connection; when that is reset, closed or does not answer, on a new one. As with
    most clients of services, a question whose answer did not come is asked again. Answers are lines with a number ("7", ":7")."""

    def __init__(self, client, address, port, question, pace=0.002):
        self.client, self.target, self.question, self.pace = client, (address, port), question.encode() + b"\n", pace
        self.connections = 0
        super().__init__()

    def _run(self):
        while not self.stopping:
            try:
                with self.client.connect(*self.target, ATTEMPT) as one:
                    self.connections += 1
                    self._ask_on(one)
            except FileNotFoundError:
                return  # the client itself is gone, with its namespace
            except OSError:
                time.sleep(RETRY)

    def _ask_on(self, one):
        pending = b""
        while not self.stopping:
            one.sendall(self.question)
            while b"\n" not in pending:
                data = one.recv(4096)
                if not data:
                    return
                pending += data
            line, pending = pending.split(b"\n", 1)
            self._keep(int(line.strip().lstrip(b":")))
            time.sleep(self.pace)


class LastingStream(_Reader):
    """A client that wants its one connection to survive: it is sent numbered lines, one each millisecond (counter.py: stream). Where
    the container went back and its connection goes on (spliced), numbers come again, maybe after a line that is two halves."""

    def __init__(self, client, address, port, lines=10**8):
        self.connection = client.connect(address, port)
        self.connection.sendall(f"stream {lines}\n".encode())
        self.broken = None        # "closed", "reset" or another error
        self.jumps = []           # (expected, came instead)
        self._expected, self._doubtful = 0, None
        super().__init__()

    def _run(self):
        pending = b""
        self.connection.settimeout(ATTEMPT)
        while not self.stopping and not self.broken:
            try:
                data = self.connection.recv(65536)
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self._take(int(line) if line.isdigit() else None)
                if not data:
                    self._end("closed")
            except TimeoutError:
                continue
            except ConnectionResetError:
                self._end("reset")
            except OSError as error:
                self._end(str(error))

    def _take(self, number):
        if number == self._expected and self._doubtful is None:
            self._expected += 1
            self._keep(number)
        elif number is not None and self._doubtful is not None and number == self._doubtful + 1:
            self.jumps.append((self._expected, self._doubtful))
            self._expected, self._doubtful = number + 1, None
            self._keep(number)
        else:  # the first line after a jump may be two halves: the one after it tells
            self._doubtful = number

    def _end(self, why):
        with self.changed:
            self.broken = why
            self.changed.notify_all()

    def end(self):
        return self.broken

    def close(self):
        super().close()
        self.connection.close()
