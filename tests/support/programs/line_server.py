"""A server of lines over TCP, IPv4 and IPv6, on one epoll: what the test programs answer their questions with."""

import selectors
import socket

PORT = 5000


def listen(port=PORT):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", port))
    listener.listen(64)
    return listener


class LineServer:
    """answer(line, connection) -> the reply's line, or None for none."""

    def __init__(self, answer, port=PORT):
        self.answer = answer
        self.selector = selectors.EpollSelector()
        self.listener = listen(port)
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.pending = {}

    def step(self, timeout=None):
        for key, _ in self.selector.select(timeout):
            if key.fileobj is self.listener:
                connection, _ = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.pending[connection] = b""
                self.selector.register(connection, selectors.EVENT_READ, None)
            elif key.data is not None:
                key.data()
            else:
                self._receive(key.fileobj)

    def _receive(self, connection):
        try:
            data = connection.recv(65536)
        except OSError as error:
            print(f"connection failed: {error.strerror}", flush=True)
            data = b""
        if not data:
            self.drop(connection)
            return
        *lines, self.pending[connection] = (self.pending[connection] + data).split(b"\n")
        for line in lines:
            reply = self.answer(line.decode(), connection)
            if reply is not None:
                self.send(connection, reply)

    def send(self, connection, line):
        try:
            connection.sendall(line.encode() + b"\n")
        except OSError as error:
            print(f"connection failed: {error.strerror}", flush=True)
            self.drop(connection)

    def drop(self, connection):
        if connection in self.pending:
            del self.pending[connection]
            self.selector.unregister(connection)
            connection.close()

    def run(self):
        while True:
            self.step()
