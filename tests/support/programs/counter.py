"""A counter in memory and in a file, with ballast. Usage: counter.py [MEGABYTES]

  incr           adds one, writes the number to /data/count, answers it
  get            answers the number
  file           answers what /data/count holds
  pid            answers this life: the number that was drawn when the program began
  stream N       sends N lines on, one each millisecond, without being asked
  exit N         ends with exit code N
  crash          reads address 0
  touch MB       changes so much of the ballast
  note TEXT      keeps it in memory, and nothing else of before
  noted          answers it
"""

import ctypes
import os
import random
import sys
import threading
import time

from line_server import LineServer

ballast = bytearray(random.randbytes(1 << 20) * int(sys.argv[1] if len(sys.argv) > 1 else 1))
life = random.getrandbits(64)
count = 0
note = ""


def write_count():
    with open("/data/count.new", "w") as file:
        file.write(f"{count}\n")
    os.rename("/data/count.new", "/data/count")


def stream(connection, lines):
    for number in range(lines):
        try:
            connection.sendall(f"{number}\n".encode())
        except OSError as error:
            print(f"stream ended: {error.strerror}", flush=True)
            return
        time.sleep(0.001)


def answer(line, connection):
    global count, note
    word, *arguments = line.split()
    if word == "incr":
        count += 1
        write_count()
        return str(count)
    if word == "get":
        return str(count)
    if word == "file":
        return open("/data/count").read().strip()
    if word == "pid":
        return str(life)
    if word == "stream":
        threading.Thread(target=stream, args=(connection, int(arguments[0])), daemon=True).start()
        return None
    if word == "touch":
        for page in range(int(arguments[0]) * 256):
            ballast[page * 4096] = (ballast[page * 4096] + 1) & 0xff
        return "touched"
    if word == "note":
        note = arguments[0]
        return "noted"
    if word == "noted":
        return note
    if word == "exit":
        os._exit(int(arguments[0]))
    if word == "crash":
        ctypes.string_at(0)
    return f"unknown: {line}"


write_count()
print("counter is ready", flush=True)
LineServer(answer).run()
