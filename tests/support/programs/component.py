"""One component of a container: a counter in memory, asked over TCP, that can fail in every way. Usage: component.py PORT [WHAT...]

WHAT at its start: "crash" ends at once, "crash-if FILE" if that is there, "slow N" listens after N seconds only.

  incr, get      a number in memory
  pid            answers this life: the number that was drawn when the program began
  child          begins a process that sleeps, and answers its number in the container
  exit N         ends with exit code N
  abort          by SIGABRT
  halt           stands still (SIGSTOP)
  spin           uses the processor and answers nobody any more
  lie            answers its probe from now on, and nobody else
  eat MB         takes so much memory
  fill           fills the file system of /data/full
  poison         from now on ends 200 ms after each restore, by its own memory
  GET ...        HTTP: 200
"""

import os
import random
import signal
import sys
import threading
import time

from line_server import LineServer

port, *what = sys.argv[1:]
life = random.getrandbits(64)
count = 0
lies = False
eaten = []


def die_of_the_next_restore():
    """A restore lets the monotonic clock go on from the checkpoint; the other one jumps."""
    # The least of several: the process may have to wait between the two.
    apart = lambda: min(time.time() - time.monotonic() for _ in range(5))
    before = apart()
    while apart() - before < 0.1:
        time.sleep(0.01)
    time.sleep(0.2)
    os._exit(13)


def answer(line, connection):
    global count, lies
    if not line.strip() or ": " in line:
        return None  # of an HTTP request
    word, *arguments = line.split()
    if word in ("GET", "OPTIONS"):
        return f"{arguments[1].replace('1.1', '1.0')} 200 OK\r\n\r"
    if lies:
        return None
    if word == "incr":
        count += 1
        return str(count)
    if word == "get":
        return str(count)
    if word == "pid":
        return str(life)
    if word == "child":
        child = os.fork()
        if child == 0:
            time.sleep(3600)
        return str(child)
    if word == "exit":
        os._exit(int(arguments[0]))
    if word == "abort":
        os.abort()
    if word == "halt":
        os.kill(os.getpid(), signal.SIGSTOP)
        return "went on"
    if word == "spin":
        while True:
            pass
    if word == "lie":
        lies = True
        return "lies"
    if word == "eat":
        eaten.append(bytearray(random.randbytes(1 << 20) * int(arguments[0])))
        return "eaten"
    if word == "poison":
        threading.Thread(target=die_of_the_next_restore, daemon=True).start()
        return "poisoned"
    if word == "fill":
        try:
            with open("/data/full", "wb") as file:
                while True:
                    file.write(bytes(1 << 20))
        except OSError as error:
            return error.strerror
    return f"unknown: {line}"


print(f"component at port {port} begins", flush=True)
if what[:1] == ["crash"] or what[:1] == ["crash-if"] and os.path.exists(what[1]):
    sys.exit(3)
if what[:1] == ["slow"]:
    time.sleep(float(what[1]))
server = LineServer(answer, int(port))
print("component is ready", flush=True)
server.run()
