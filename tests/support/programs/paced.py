"""Numbered records over TCP, one each millisecond. Usage: paced.py PORT...

A connection begins with one line:
  download [N]        records are sent; after N of them the connection is closed
  upload NAME         records are received; which ones, "seen" tells
  drain NAME          the same, on a connection whose own side is closed at once
  seen NAME           answers the ranges of what came, in the order of their coming: "0-17 25-99"
  echo                every further line is answered, with the number of lines so far
  call ADDRESS PORT W connects to there and goes on with W as if that had been the first line
"""

import itertools
import select
import socket
import sys
import threading
import time

from line_server import listen
from records import Ranges, lines_of, record

PACE = 0.001
uploads = {}


def download(connection, records=None):
    for number in range(int(records)) if records else itertools.count():
        connection.sendall(record(number))
        time.sleep(PACE)


def upload(connection, name):
    uploads[name] = seen = Ranges()
    for line in lines_of(connection):
        seen.add(line)
    print(f"upload {name} ended", flush=True)


def echo(connection):
    for count, line in enumerate(lines_of(connection), 1):
        connection.sendall(b"%d %s\n" % (count, line))


def serve(connection, line):
    word, *arguments = line.split()
    if word == "download":
        download(connection, *arguments)
    elif word == "upload":
        upload(connection, *arguments)
    elif word == "drain":
        connection.shutdown(socket.SHUT_WR)
        upload(connection, *arguments)
    elif word == "seen":
        connection.sendall(f"{uploads.get(arguments[0], '')}\n".encode())
    elif word == "echo":
        echo(connection)
    elif word == "call":
        with socket.create_connection((arguments[0], int(arguments[1]))) as called:
            connection.sendall(b"called\n")
            called.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve(called, " ".join(arguments[2:]))


def serve_and_close(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        try:
            line = b""
            while not line.endswith(b"\n"):  # byte by byte: what follows belongs to the stream
                byte = connection.recv(1)
                if not byte:
                    return
                line += byte
            serve(connection, line.decode().strip())
        except OSError as error:
            print(f"connection failed: {error.strerror}", flush=True)


if __name__ == "__main__":
    listeners = [listen(int(port)) for port in sys.argv[1:]]
    print("paced is ready", flush=True)
    while True:
        for listener in select.select(listeners, [], [])[0]:
            connection, _ = listener.accept()
            threading.Thread(target=serve_and_close, args=(connection,), daemon=True).start()
