"""What a client sees of a failure: for how long it heard nothing, and how much state was lost.

A client keeps readings: (time in ns, value), where the container's value rises as time passes: the number of a tick, a counter, a
line of a stream. After a failure the value goes on from what was restored.
"""

import bisect
import collections

Interruption = collections.namedtuple("Interruption", "begin ms lost_ms")


def interruption(readings, mark=0):
    """The longest time without a reading, from the reading with index `mark` on. `lost_ms`: how long before its begin the value
    was reached that the first reading afterwards goes on from; 0 if nothing was taken back."""
    index = max(range(mark, len(readings) - 1), key=lambda i: readings[i + 1][0] - readings[i][0], default=None)
    if index is None:
        raise ValueError(f"{len(readings) - mark} readings: two are needed")
    return _at(readings, index)


def setback(readings, mark=0):
    """The interruption from the reading with index `mark` on that took most back, however long others were, of values that rise
    from one reading to the next."""
    index = max(range(mark, len(readings) - 1), key=lambda i: readings[i][1] - readings[i + 1][1], default=None)
    if index is None or readings[index + 1][1] >= readings[index][1]:
        raise ValueError("nothing was taken back")
    return _at(readings, index)


def _at(readings, index):
    (before, _), (after, value) = readings[index], readings[index + 1]
    return Interruption(before, (after - before) / 1e6, (before - _reached(readings[:index + 1], value)) / 1e6)


def _reached(readings, value):
    """When the state was left from which the next value is `value`."""
    highest, maxima = None, []
    for _, one in readings:  # values that an earlier failure took back rise again
        highest = one if highest is None else max(highest, one)
        maxima.append(highest)
    index = bisect.bisect_left(maxima, value)
    return readings[max(0, index - 1)][0] if index < len(maxima) else readings[-1][0]
