"""How `perdure lab` speaks: within 80 columns."""

import os
import time


def say(text=""):
    print(text, flush=True)


class Step:
    """A line of progress: what is done, and how long it took."""

    unfinished = False

    def __init__(self, text):
        self.begin = time.monotonic()
        Step.unfinished = True
        print(f"  {text:<60}", end="", flush=True)

    def done(self, word="done"):
        Step.unfinished = False
        print(f"{word:>10} {time.monotonic() - self.begin:5.1f} s", flush=True)


def ending(status):
    if status is None:
        return "ended"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"signal {-code}"


def table(rows):
    columns = [list(column) for column in zip(*rows)]
    if not any(columns[-1][1:]):
        columns.pop()
    widths = [max(len(cell) for cell in column) for column in columns]
    room = 80 - sum(widths) - 2 * (len(widths) - 1)
    if room < 0:  # the containers give way
        widths[4] = max(len("CONTAINERS"), widths[4] + room)
    for cells in zip(*columns):
        fitted = [cell if len(cell) <= width else cell[:width - 3] + "..." for cell, width in zip(cells, widths)]
        say("  ".join(cell.ljust(width) for cell, width in zip(fitted, widths)).rstrip())


def age(seconds):
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
