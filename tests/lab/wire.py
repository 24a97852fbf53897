"""Evidence from the wire: what a client sends and sees, below the sockets of its kernel."""

import select
import socket
import struct
import time

from support import kernel

ETH_P_ALL = 3
FIN, RST = 0x01, 0x04
PATIENCE = 20.0   # for what must come
SILENCE = 0.4     # how long nothing has to come
ECHO_PORT = 7000


class Echo:
    """UDP between two places that have sockets: who hears whom."""

    def __init__(self, *places):
        """(name, PID in the network namespace, address)"""
        self.sockets, self.addresses = {}, {}
        for name, pid, address in places:
            with kernel.network_namespace(pid):
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((address, ECHO_PORT))
            one.setblocking(False)
            self.sockets[name], self.addresses[name] = one, address

    def _drain(self, name):
        seen = []
        try:
            while True:
                seen.append(self.sockets[name].recv(64))
        except OSError:
            return seen

    def hears(self, listener, speaker, wanted=True):
        """Whether a datagram of the speaker comes, sent again and again; for the time of PATIENCE or SILENCE."""
        self._drain(listener)
        end = time.monotonic() + (PATIENCE if wanted else SILENCE)
        text = f"{speaker} {end}".encode()
        while time.monotonic() < end:
            try:
                self.sockets[speaker].sendto(text, (self.addresses[listener], ECHO_PORT))
            except OSError:  # no answer to ARP
                pass
            select.select([self.sockets[listener]], [], [], 0.02)
            if text in self._drain(listener):
                return True
        return False

    def deaf(self, listener, speaker):
        return not self.hears(listener, speaker, wanted=False)

    def close(self):
        for one in self.sockets.values():
            one.close()


class Sniffer:
    """Every frame that reaches the client."""

    def __init__(self, client):
        with kernel.network_namespace(client.pid):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind(("eth0", 0))

    def tcp_flags(self, sources, seconds):
        """Of the TCP segments from the addresses, those of the past included, until it was silent for so long."""
        flags = []
        while select.select([self.socket], [], [], seconds)[0]:
            frame, where = self.socket.recvfrom(65535)
            if where[2] == socket.PACKET_OUTGOING or frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_TCP:
                continue
            if socket.inet_ntoa(frame[26:30]) in sources:
                header = 14 + (frame[14] & 0x0f) * 4
                flags.append(struct.unpack_from("B", frame, header + 13)[0])
        return flags

    def close(self):
        self.socket.close()
