"""Records that carry their number, and what came of them: both ends of paced.py use this.

A record is a line of digits. Where a stream goes on elsewhere, one line may be torn; it has another length, or is the
later of the two records that it was made of."""

DIGITS = 15


def record(number):
    return b"%0*d\n" % (DIGITS, number)


def lines_of(connection):
    pending = b""
    while True:
        data = connection.recv(65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        yield from lines


class Ranges:
    """Numbers in the order of their coming, as ranges of successors: [0, 17], [25, 99]."""

    def __init__(self, text=""):
        self.all = [[int(number) for number in part.split("-")] for part in text.split()]

    def add(self, line):
        if len(line) != DIGITS or not line.isdigit():
            return  # torn
        number = int(line)
        if self.all and number == self.all[-1][1] + 1:
            self.all[-1][1] = number
        else:
            self.all.append([number, number])

    def last(self):
        return self.all[-1][1] if self.all else -1

    def __str__(self):
        return " ".join(f"{first}-{last}" for first, last in list(self.all))
