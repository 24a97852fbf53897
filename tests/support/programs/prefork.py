"""A server that begins its workers before it serves, and others for those that end. Usage: prefork.py PORT WORKERS

  who            answers the numbers in the container of the worker that is asked, and of its parent
  daemon         the worker leaves a process behind, in a session of its own; answers its number
  GET ...        HTTP: 200
"""

import os
import sys
import time

from line_server import listen


def leave_behind():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        listener.close()  # else no successor could listen
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
            time.sleep(3600)
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reader, 64).decode()


def answer(line):
    if line.startswith("GET "):
        return "HTTP/1.0 200 OK\r\n\r"
    if line == "who":
        return f"{os.getpid()} {os.getppid()}"
    if line == "daemon":
        return leave_behind()
    return None  # of an HTTP request


def work():
    while True:
        connection, _ = listener.accept()
        try:
            with connection, connection.makefile() as lines:
                for line in lines:
                    reply = answer(line.strip())
                    if reply is not None:
                        connection.sendall(reply.encode() + b"\n")
                    if line.startswith("GET "):
                        break
        except OSError as error:
            print(f"connection failed: {error.strerror}", flush=True)


def begin_worker():
    if os.fork() == 0:
        work()


listener = listen(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    begin_worker()
print("prefork is ready", flush=True)
while True:
    ended, status = os.wait()
    print(f"worker {ended} has ended with status {status}", flush=True)
    begin_worker()
