"""System calls that Python 3.11 does not offer: namespaces, mounts, prctl."""

import ctypes
import os
from contextlib import contextmanager

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    _check(_libc.unshare(flags), "unshare")


def mount(source, target, kind, flags=0, data=None):
    encode = lambda text: None if text is None else os.fsencode(text)
    _check(_libc.mount(encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(data)),
           f"mount {source} on {target}")


def become_subreaper():
    """Orphans below this process become its children instead of those of process 1."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


@contextmanager
def network_namespace(pid):
    """The calling thread is in the network namespace of `pid`; sockets made here stay there."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(other, CLONE_NEWNET), f"enter the network namespace of process {pid}")
        try:
            yield
        finally:
            _check(_libc.setns(own, CLONE_NEWNET), "return to the own network namespace")
    finally:
        os.close(own)
        os.close(other)
