"""Bytes over TCP, as fast as the other side goes, each of them checked. Usage: pump.py [MEGABYTES]

A connection begins with one line:
  download SEED  the bytes of that seed are sent until the client shuts its side down; then the connection is closed
  upload         what comes is read slowly; when the client shuts its side down, their number and SHA-256 are answered
  sent           how many bytes all downloads have sent
  life           the number that was drawn when the program began

Both directions have full queues in both kernels at any time: whoever stops this program stops it amid data.
"""

import hashlib
import random
import select
import socket
import sys
import threading
import time

from line_server import listen

PIECE = 1 << 14
life = random.getrandbits(64)
sent = 0


def pieces(seed):
    """The stream of a seed; the clients make the same."""
    for number in range(1 << 30):
        yield hashlib.shake_128(f"{seed} {number}".encode()).digest(PIECE)


def download(connection, seed):
    global sent
    for piece in pieces(seed):
        connection.sendall(piece)
        sent += len(piece)
        if select.select([connection], [], [], 0)[0]:
            return


def upload(connection):
    total, digest = 0, hashlib.sha256()
    while True:
        piece = connection.recv(1 << 15)
        if not piece:
            return connection.sendall(f"{total} {digest.hexdigest()}\n".encode())
        total += len(piece)
        digest.update(piece)
        time.sleep(0.002)


def serve(connection):
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            return
        line += byte
    word, *arguments = line.decode().split()
    if word == "download":
        download(connection, arguments[0])
    elif word == "upload":
        upload(connection)
    else:
        connection.sendall(f"{sent if word == 'sent' else life}\n".encode())


def serve_and_close(connection):
    with connection:
        try:
            serve(connection)
        except OSError as error:
            print(f"connection failed: {error.strerror}", flush=True)


if __name__ == "__main__":
    ballast = random.randbytes(1 << 20) * int(sys.argv[1] if len(sys.argv) > 1 else 1)
    listener = listen()
    print("pump is ready", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        threading.Thread(target=serve_and_close, args=(connection,), daemon=True).start()
