#!/usr/bin/python3
"""Removes everything of a lab when its keeper is gone, in whatever way. Started with the keeper, which holds the other end of
standard input:

    guardian.py NAME LOCK-DESCRIPTOR
"""

import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from perdure_lab import kernel, remains  # noqa: E402


def main():
    name, lock = sys.argv[1], int(sys.argv[2])
    kernel.set_process_name("lab-guardian")
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    purge = False
    while True:
        said = os.read(0, 4096)
        if not said:
            break
        purge = said == b"purge\n"  # of an orderly end; dies with the keeper otherwise
    left = remains.remove_lab(name, purge)
    if left:  # the next command finds it, and says so if it cannot help either
        print("guardian: not removed: " + ", ".join(left), flush=True)
    else:
        remains.drop_lock(name, lock)
        os._exit(0)  # at once: it is the last trace


if __name__ == "__main__":
    main()
