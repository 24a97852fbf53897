"""System calls that Python 3.11 does not offer: namespaces, mounts, prctl."""

import ctypes
import os
from contextlib import contextmanager

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
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


def die_with_parent(signal_number):
    """The kernel sends the signal when the thread that forked this process is gone. Survives exec, not fork."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number), 0, 0, 0), "prctl")


def set_process_name(name):
    _check(_libc.prctl(PR_SET_NAME, ctypes.c_char_p(os.fsencode(name[:15])), 0, 0, 0), "prctl")


def _enter(descriptor, kind, what):
    _check(_libc.setns(descriptor, kind), what)


@contextmanager
def children_in_new_pid_namespace(boottime_offset=None):
    """The next fork() is process 1 of a PID namespace of its own, and of a time namespace whose boot clock is so many
    seconds ahead of this one's. Only for a process with one thread."""
    kinds = [(CLONE_NEWPID, "pid")] + ([(CLONE_NEWTIME, "time")] if boottime_offset is not None else [])
    own = [(kind, os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)) for kind, name in kinds]
    entered = []
    try:
        for kind, descriptor in own:
            unshare(kind)
            entered.append((kind, descriptor))
        if boottime_offset is not None:
            with open("/proc/self/timens_offsets", "w") as file:
                file.write(f"boottime {boottime_offset} 0\n")
        yield
    finally:
        for kind, descriptor in entered:
            _enter(descriptor, kind, "return to the own namespace")
        for _, descriptor in own:
            os.close(descriptor)


@contextmanager
def network_namespace(pid):
    """The calling thread is in the network namespace of `pid`; sockets made here stay there."""
    other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)  # fails when the process is gone
    try:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(other, CLONE_NEWNET, f"enter the network namespace of process {pid}")
            try:
                yield
            finally:
                _enter(own, CLONE_NEWNET, "return to the own network namespace")
        finally:
            os.close(own)
    finally:
        os.close(other)
