"""A tree of processes, with threads in some, that all know something. Usage: tree.py PROCESSES [MEGABYTES EACH]

  check          asks every process over its pipe; answers a JSON list of what each knows and how often it was asked
"""

import json
import os
import random
import socket
import sys
import threading
import time

from line_server import LineServer

processes = int(sys.argv[1])
megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 1


def serve(number, channel):
    random.seed(number)
    memory = random.randbytes(megabytes << 20)
    checksum = hash_of(memory)
    asked = 0
    beats = [0, 0]

    def beat(index):
        while True:
            time.sleep(0.002)
            beats[index] += 1
    for index in range(2):
        threading.Thread(target=beat, args=(index,), daemon=True).start()
    while channel.recv(1):
        asked += 1
        channel.sendall(json.dumps({"number": number, "pid": os.getpid(), "asked": asked, "beats": sum(beats),
                                    "intact": hash_of(memory) == checksum}).encode())


def hash_of(memory):
    total = 0
    for at in range(0, len(memory), 4096):
        total = (total * 31 + int.from_bytes(memory[at:at + 8], "little")) & 0xffffffff
    return total


def grow(number, channels):
    """Process `number` of a binary tree starts its children and serves; only the first returns."""
    for child in (2 * number, 2 * number + 1):
        if child <= processes and os.fork() == 0:
            grow(child, channels)
            os._exit(0)
    if number > 1:
        serve(number, channels[number][1])


channels = {number: socket.socketpair() for number in range(2, processes + 1)}
grow(1, channels)


def answer(line, _):
    if line != "check":
        return f"unknown: {line}"
    replies = []
    for number in sorted(channels):
        channels[number][0].sendall(b"?")
        replies.append(json.loads(channels[number][0].recv(65536)))
    return json.dumps(replies)


print("tree is ready", flush=True)
LineServer(answer).run()
