"""Timers of every kind, each in a process of its own that counts its ticks in memory shared by all.

  counts         answers a JSON object: kind -> ticks so far
"""

import ctypes
import json
import mmap
import os
import select
import signal
import struct
import time

from line_server import LineServer

libc = ctypes.CDLL(None, use_errno=True)
shared = mmap.mmap(-1, 4096)  # anonymous, MAP_SHARED
kinds = []


def tick(slot):
    struct.pack_into("<Q", shared, slot * 8, struct.unpack_from("<Q", shared, slot * 8)[0] + 1)


def timer(function):
    """Registers a kind of timer; function(slot) never returns."""
    kinds.append(function)
    return function


def periodic_timerfd(slot, clock, interval_ns):
    descriptor = libc.timerfd_create(clock, 0)
    value = struct.pack("qqqq", 0, interval_ns, 0, interval_ns)
    assert libc.timerfd_settime(descriptor, 0, value, None) == 0
    while True:
        os.read(descriptor, 8)
        tick(slot)


@timer
def timerfd_1ms(slot):
    periodic_timerfd(slot, 1, 1_000_000)


@timer
def timerfd_100ms(slot):
    periodic_timerfd(slot, 1, 100_000_000)


@timer
def timerfd_boottime_5ms(slot):
    periodic_timerfd(slot, 7, 5_000_000)


@timer
def timerfd_once_rearmed_in_epoll(slot):
    descriptor = libc.timerfd_create(1, 0)
    epoll = select.epoll()
    epoll.register(descriptor, select.EPOLLIN)
    while True:
        assert libc.timerfd_settime(descriptor, 0, struct.pack("qqqq", 0, 0, 0, 20_000_000), None) == 0
        epoll.poll()
        os.read(descriptor, 8)
        tick(slot)


def posix_timer(slot, clock, interval_ns):
    signal.signal(signal.SIGUSR1, lambda *_: tick(slot))
    event = struct.pack("Pii", 0, signal.SIGUSR1, 0) + bytes(64)  # SIGEV_SIGNAL
    identifier = ctypes.c_void_p()
    assert libc.timer_create(clock, event, ctypes.byref(identifier)) == 0
    value = struct.pack("qqqq", 0, interval_ns, 0, interval_ns)
    assert libc.timer_settime(identifier, 0, value, None) == 0
    while True:
        signal.pause()


@timer
def posix_timer_1ms(slot):
    posix_timer(slot, 1, 1_000_000)


@timer
def posix_timer_50ms(slot):
    posix_timer(slot, 1, 50_000_000)


@timer
def posix_timer_realtime_10ms(slot):
    posix_timer(slot, 0, 10_000_000)


@timer
def itimer_real_1ms(slot):
    signal.signal(signal.SIGALRM, lambda *_: tick(slot))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    while True:
        signal.pause()


@timer
def itimer_real_200ms(slot):
    signal.signal(signal.SIGALRM, lambda *_: tick(slot))
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    while True:
        signal.pause()


@timer
def itimer_virtual(slot):
    signal.signal(signal.SIGVTALRM, lambda *_: tick(slot))
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.02, 0.02)
    while True:
        for _ in range(100_000):
            pass
        time.sleep(0.05)  # counts processor time only; leaves some to the others


@timer
def alarm_rearmed(slot):
    def ring(*_):
        tick(slot)
        signal.alarm(1)
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(1)
    while True:
        signal.pause()


@timer
def nanosleep_5ms(slot):
    request = struct.pack("qq", 0, 5_000_000)
    while True:
        libc.nanosleep(request, None)
        tick(slot)


@timer
def nanosleep_400ms(slot):
    request = struct.pack("qq", 0, 400_000_000)
    while True:
        libc.nanosleep(request, None)
        tick(slot)


@timer
def clock_nanosleep_absolute(slot):
    due = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    while True:
        due += 10_000_000
        libc.clock_nanosleep(1, 1, struct.pack("qq", due // 1_000_000_000, due % 1_000_000_000), None)
        tick(slot)


@timer
def poll_timeout(slot):
    nothing = select.poll()
    while True:
        nothing.poll(15)
        tick(slot)


@timer
def futex_timeout(slot):
    word = ctypes.c_int(0)
    while True:  # FUTEX_WAIT, relative
        libc.syscall(202, ctypes.byref(word), 0, 0, struct.pack("qq", 0, 25_000_000), None, 0)
        tick(slot)


def answer(line, _):
    if line == "counts":
        return json.dumps({kind.__name__: struct.unpack_from("<Q", shared, slot * 8)[0]
                           for slot, kind in enumerate(kinds)})
    return f"unknown: {line}"


for slot, kind in enumerate(kinds):
    if os.fork() == 0:
        kind(slot)
print("timers are ready", flush=True)
LineServer(answer).run()
