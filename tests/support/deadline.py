"""The longest time of a test: what hangs beside the deadlines of its waits is ended."""

import contextlib
import signal


@contextlib.contextmanager
def longest(seconds):
    """TimeoutError in the main thread when it is over."""
    def give_up(*_):
        raise TimeoutError(f"the test took longer than {seconds} s")
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
