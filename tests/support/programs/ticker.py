"""Sends a numbered datagram each millisecond, driven by a periodic timerfd. Usage: ticker.py ADDRESS PORT [MEGABYTES]

The receiver sees each stop of this container as a gap, with its own clock."""

import ctypes
import os
import random
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
address, port = sys.argv[1], int(sys.argv[2])
ballast = random.randbytes(1 << 20) * int(sys.argv[3] if len(sys.argv) > 3 else 1)

timer = libc.timerfd_create(1, 0)  # CLOCK_MONOTONIC
period = struct.pack("qqqq", 0, 1_000_000, 0, 1_000_000)
if timer < 0 or libc.timerfd_settime(timer, 0, period, None) != 0:
    sys.exit("timerfd does not work")
sender = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
print("ticker is ready", flush=True)
number = 0
while True:
    os.read(timer, 8)
    number += 1
    try:
        sender.sendto(struct.pack("<Q", number), (address, port))
    except OSError:
        pass  # nobody listens at the moment
