"""Writes a page to a file again and again, which needs room for a second one each time. Usage: journal.py FILE [patient]

It answers at port 5003:

  written        how often it has, in this life

Without room it ends with exit code 28; "patient" says so in its log and tries again.
"""

import os
import sys

from line_server import LineServer

path, *how = sys.argv[1:]
written = 0


def write():
    global written
    try:
        with open(f"{path}.new", "wb") as file:
            file.write(bytes(8192))
        os.rename(f"{path}.new", path)
        written += 1
    except OSError as error:
        print(f"{path}: {error.strerror}", flush=True)
        if how != ["patient"]:
            os._exit(error.errno)


server = LineServer(lambda line, _: str(written) if line == "written" else f"unknown: {line}", 5003)
while True:
    write()
    server.step(0.05)
