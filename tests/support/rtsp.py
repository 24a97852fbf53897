"""A client of RTSP with RTP over UDP (RFC 2326, RFC 3550), as much as VLC's video on demand needs."""

import re
import select
import socket
import struct
import threading
import time

from perdure_lab.clients import TIMEOUT, family_of
from perdure_lab.interruptions import interruption

_SO_TIMESTAMPNS = 35
KEEP_ALIVE = 20.0  # VLC forgets a session after 60 s
GOODBYE = 1.0  # for an answer that is not needed


class RtspError(Exception):
    pass


class RtspClient:
    """Plays a clip and logs (kernel's time of arrival in ns, RTP sequence number, RTP time) of each packet of its first track.

    Keep-alives go over the control connection; when that is reset the client connects again, as players do."""

    def __init__(self, client, address, port=8554, path="clip"):
        self.client = client
        self.server = (address, port)
        host = f"[{address}]" if ":" in address else address
        self.url = f"rtsp://{host}:{port}/{path}"
        self.number = 0
        self.session = None
        self.control = None
        self.pending = b""
        self.sockets = []
        self.arrivals = []
        self.control_resets = 0
        self.changed = threading.Condition()
        self.stopping = False
        self.thread = None

    # ---- Control connection ----

    def _connect(self, deadline=TIMEOUT):
        self.control = self.client.connect(*self.server, deadline)
        self.pending = b""

    def _ask(self, method, url=None, **headers):
        self.number += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self.number}", "User-Agent: perdure-test"]
        if self.session:
            lines.append(f"Session: {self.session}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.control.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return self._answer(method)

    def _read_until(self, complete):
        while not complete():
            data = self.control.recv(65536)
            if not data:
                raise ConnectionError("the server closed the control connection")
            self.pending += data

    def _answer(self, method):
        self._read_until(lambda: b"\r\n\r\n" in self.pending)
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        size = int(headers.get("content-length", 0))
        self._read_until(lambda: len(self.pending) >= size)
        body, self.pending = self.pending[:size].decode(), self.pending[size:]
        if status.split()[1] != "200":
            raise RtspError(f"{method} {self.url}: {status}")
        return headers, body

    # ---- Playing ----

    def play(self):
        self._connect()
        _, description = self._ask("DESCRIBE", Accept="application/sdp")
        # Before the first "m=" stands the control of the whole.
        tracks = re.findall(r"a=control:(rtsp://\S+)", description[description.find("m="):])
        if not tracks:
            raise RtspError(f"{self.url} has no tracks: {description}")
        for track in tracks:
            rtp, rtcp = self._port_pair()
            ports = f"{rtp.getsockname()[1]}-{rtcp.getsockname()[1]}"
            headers, _ = self._ask("SETUP", track, Transport=f"RTP/AVP;unicast;client_port={ports}")
            self.session = headers["session"].split(";")[0]
            self.sockets += [rtp, rtcp]
        self._ask("PLAY", Range="npt=0-")
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()
        return self

    def _port_pair(self):
        """RTP on an even port, RTCP on the next (RFC 3550, 11)."""
        own = next(a for a in self.client.addresses if family_of(a) == family_of(self.server[0]))
        for port in range(20000, 60000, 2):
            pair = []
            try:
                for number in (port, port + 1):
                    pair.append(self.client.socket(family_of(own), socket.SOCK_DGRAM))
                    pair[-1].setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                    pair[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                    pair[-1].bind((own, number))
                return pair
            except OSError:
                for one in pair:
                    one.close()
        raise RtspError("no free pair of ports")

    def _receive(self):
        poll = select.poll()
        by_number = {one.fileno(): one for one in self.sockets}
        for number in by_number:
            poll.register(number, select.POLLIN)
        first = self.sockets[0].fileno()
        keep_alive = time.monotonic() + KEEP_ALIVE
        while not self.stopping:
            batch = []
            for number, _ in poll.poll(100):
                self._drain(by_number[number], batch if number == first else [])
            if batch:
                with self.changed:
                    self.arrivals += batch
                    self.changed.notify_all()
            if time.monotonic() >= keep_alive:
                self.keep_alive()
                keep_alive = time.monotonic() + KEEP_ALIVE

    @staticmethod
    def _drain(one, batch):
        try:
            while True:
                data, ancillary, _, _ = one.recvmsg(2048, 64, socket.MSG_DONTWAIT)
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
                if len(data) >= 12:
                    batch.append((seconds * 1_000_000_000 + nanoseconds, *struct.unpack(">HI", data[2:8])))
        except BlockingIOError:
            pass

    def keep_alive(self):
        try:
            self._ask("GET_PARAMETER")
        except (OSError, ConnectionError):
            self.control_resets += 1
            self.control.close()
            self._connect()
            self._ask("GET_PARAMETER")

    def _end_session(self):
        """Or the server sends on for a minute, also to whoever has the ports next. It may be gone."""
        for is_new in (False, True):
            try:
                if is_new:
                    self.control.close()
                    self._connect(GOODBYE)
                self.control.settimeout(GOODBYE)
                self._ask("TEARDOWN")
                return
            except (OSError, RtspError):
                pass

    # ---- What arrived ----

    def count(self):
        with self.changed:
            return len(self.arrivals)

    def snapshot(self, since=0):
        with self.changed:
            return self.arrivals[since:]

    def mark(self):
        """For interruption(): the last packet until now."""
        return max(0, self.count() - 1)

    def interruption(self, mark=0):
        """By the time in the clip, which goes on from what was restored."""
        packets = self.snapshot()
        first = packets[0][2] if packets else 0
        # 32 bits that begin anywhere (RFC 3550, 5.1): no clip of these tests goes half way round.
        return interruption([(at, (stamp - first + (1 << 31)) % (1 << 32)) for at, _, stamp in packets], mark)

    def wait_for_packets(self, number, deadline=TIMEOUT):
        """... more than there are now."""
        with self.changed:
            wanted = len(self.arrivals) + number
            if not self.changed.wait_for(lambda: len(self.arrivals) >= wanted, deadline):
                raise TimeoutError(f"{self.url}: only {number - wanted + len(self.arrivals)} of {number} packets in "
                                   f"{deadline:.0f} s")

    def longest_gap_ms(self, since=0):
        arrivals = self.snapshot(since)
        return max(((b[0] - a[0]) / 1e6 for a, b in zip(arrivals, arrivals[1:])), default=float("inf"))

    def close(self):
        self.stopping = True
        if self.thread:
            self.thread.join()
        if self.session:
            self._end_session()
        for one in [self.control, *self.sockets]:
            if one:
                one.close()
