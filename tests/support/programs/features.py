"""Holds one of each thing that a process can hold, and says whether it still works.

  check          answers a JSON object: thing -> "ok" or what is wrong
"""

import ctypes
import json
import mmap
import os
import select
import signal
import socket
import tempfile
import threading
import time

from line_server import LineServer

libc = ctypes.CDLL(None, use_errno=True)
checks = {}
# Before the first thread: all of them inherit it.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 3})


def thing(function):
    """Runs it once; it returns the check, which returns None or what is wrong."""
    checks[function.__name__] = function()
    return function


def expect(found, wanted):
    return None if found == wanted else f"{found!r} instead of {wanted!r}"


@thing
def deleted_open_file():
    file = tempfile.TemporaryFile(dir="/data")
    file.write(b"deleted but open")
    file.flush()

    def check():
        file.seek(0)
        return expect(file.read(), b"deleted but open")
    return check


@thing
def growing_file():
    path = "/data/growing"
    file = open(path, "ab")
    written = 0

    def check():
        nonlocal written
        wrong = expect(os.path.getsize(path), written)
        file.write(b"x" * 1000)
        file.flush()
        written += 1000
        return wrong
    return check


@thing
def file_position():
    with open("/data/lines", "w") as file:
        file.writelines(f"{number}\n" for number in range(100000))
    reader = open("/data/lines", "rb", buffering=0)
    at = 0

    def check():
        nonlocal at
        wanted = b"".join(b"%d\n" % number for number in range(at, at + 10))
        at += 10
        return expect(reader.read(len(wanted)), wanted)
    return check


@thing
def shared_file_mapping():
    file = open("/data/mapped", "w+b")
    file.truncate(1 << 20)
    mapping = mmap.mmap(file.fileno(), 1 << 20)
    rounds = 0

    def check():
        nonlocal rounds
        wrong = expect((mapping[8192], os.pread(file.fileno(), 1, 8192)[0]), (rounds % 256, rounds % 256))
        rounds += 1
        mapping[8192] = rounds % 256
        return wrong
    return check


@thing
def eventfd_in_epoll():
    event = os.eventfd(0, os.EFD_NONBLOCK)
    epoll = select.epoll()
    epoll.register(event, select.EPOLLIN)

    def check():
        os.eventfd_write(event, 7)
        ready = epoll.poll(1)
        return expect((ready, os.eventfd_read(event)), ([(event, select.EPOLLIN)], 7))
    return check


@thing
def edge_triggered_epoll():
    left, right = socket.socketpair()
    epoll = select.epoll()
    epoll.register(right, select.EPOLLIN | select.EPOLLET)

    def check():
        left.send(b"a")
        ready = epoll.poll(1)
        right.recv(10)
        return expect(len(ready), 1)
    return check


@thing
def pipe_with_content():
    reading, writing = os.pipe()
    os.write(writing, b"old")

    def check():
        os.write(writing, b"new")
        wrong = expect(os.read(reading, 6), b"oldnew")
        os.write(writing, b"old")
        return wrong
    return check


@thing
def unix_socket_with_queue():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left.send(b"queued")

    def check():
        wrong = expect(right.recv(100), b"queued")
        left.send(b"queued")
        return wrong
    return check


@thing
def listening_unix_socket():
    server = socket.socket(socket.AF_UNIX)
    server.bind("/data/socket")
    server.listen(5)

    def check():
        client = socket.socket(socket.AF_UNIX)
        client.connect("/data/socket")
        accepted, _ = server.accept()
        client.send(b"hello")
        wrong = expect(accepted.recv(10), b"hello")
        client.close()
        accepted.close()
        return wrong
    return check


@thing
def tcp_over_loopback():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()

    def check():
        client.sendall(b"ping")
        return expect(accepted.recv(10), b"ping")
    return check


@thing
def udp_over_ipv6_loopback():
    receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    receiver.bind(("::1", 0))
    sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname()[:2])

    def check():
        sender.send(b"ping")
        return expect(receiver.recv(10), b"ping")
    return check


@thing
def memfd():
    file = os.memfd_create("kept")
    os.write(file, b"in memory only")
    return lambda: expect(os.pread(file, 100, 0), b"in memory only")


@thing
def inotify():
    watch = libc.inotify_init1(os.O_NONBLOCK)
    os.makedirs("/data/watched")
    assert libc.inotify_add_watch(watch, b"/data/watched", 0x100) >= 0  # IN_CREATE
    number = 0

    def check():
        nonlocal number
        number += 1
        open(f"/data/watched/{number}", "w").close()
        return expect(f"{number}\0".encode() in os.read(watch, 4096), True)
    return check


@thing
def threads():
    beats = [0] * 8

    def beat(index):
        while True:
            time.sleep(0.001)
            beats[index] += 1
    for index in range(len(beats)):
        threading.Thread(target=beat, args=(index,), daemon=True).start()

    def check():
        before = list(beats)
        end = time.monotonic() + 5
        while any(now == then for now, then in zip(beats, before)) and time.monotonic() < end:
            time.sleep(0.005)
        return expect([now > then for now, then in zip(beats, before)], [True] * len(beats))
    return check


@thing
def signal_handler():
    received = []
    signal.signal(signal.SIGUSR2, lambda *_: received.append(1))

    def check():
        count = len(received)
        os.kill(os.getpid(), signal.SIGUSR2)
        end = time.monotonic() + 5
        while len(received) == count and time.monotonic() < end:
            time.sleep(0.001)
        return expect(len(received), count + 1)
    return check


@thing
def blocked_pending_signal():
    os.kill(os.getpid(), signal.SIGRTMIN + 3)
    return lambda: expect(signal.SIGRTMIN + 3 in signal.sigpending(), True)


@thing
def child_process():
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        while os.read(reading, 1):
            pass
        os._exit(0)
    return lambda: expect(os.waitpid(pid, os.WNOHANG), (0, 0))


@thing
def zombie():
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def check():
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return expect((found.si_pid, found.si_status), (pid, 7))
    return check


@thing
def working_directory():
    os.makedirs("/data/here", exist_ok=True)
    os.chdir("/data/here")
    return lambda: expect(os.getcwd(), "/data/here")


@thing
def symbolic_link_and_modes():
    os.symlink("growing", "/data/link")
    os.mkfifo("/data/fifo")
    os.chmod("/data/lines", 0o4751)
    os.link("/data/lines", "/data/lines-too")
    stat = os.stat("/data/lines")

    def check():
        now = os.stat("/data/lines-too")
        return expect((os.readlink("/data/link"), now.st_mode, now.st_nlink, now.st_mtime_ns),
                      ("growing", stat.st_mode, stat.st_nlink, stat.st_mtime_ns))
    return check


@thing
def file_of_the_image_deleted_and_changed():
    os.unlink("/etc/services") if os.path.exists("/etc/services") else None
    os.unlink("/etc/hosts")
    with open("/etc/nsswitch.conf", "a") as file:
        file.write("# changed\n")
    return lambda: expect((os.path.exists("/etc/hosts"), open("/etc/nsswitch.conf").read().endswith("# changed\n")),
                          (False, True))


@thing
def monotonic_clock():
    last = time.monotonic()

    def check():
        nonlocal last
        now = time.monotonic()
        wrong = None if last <= now < last + 600 else f"{now - last} s passed"
        last = now
        return wrong
    return check


def run_check(check):
    try:
        return check() or "ok"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def answer(line, _):
    if line == "check":
        return json.dumps({name: run_check(check) for name, check in checks.items()})
    if line == "names":
        return json.dumps(list(checks))
    return f"unknown: {line}"


print("features are ready", flush=True)
LineServer(answer).run()
