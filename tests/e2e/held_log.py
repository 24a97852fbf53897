"""Ends perdured at one line of its log, exactly.

Its standard error is a pipe with room for one packet, and each line is a packet. While the pipe is full, a thread that
logs waits in write(2): which one with which line, /proc/PID/task/*/syscall and /proc/PID/mem tell. A wanted line is
therefore seen before it is written, and its thread goes not one step further: there perdured is killed. Other lines
are let through one by one. A line that slipped through while the pipe was emptied for another is no hit; the caller
makes it come again. Nor is one that has been written by a thread that gets no processor to leave write(2): it is what
the pipe is full of, or was read before."""

import ctypes
import errno
import fcntl
import os
import re
import select
import signal
import threading

from support.node import DEADLINE, until

F_SETPIPE_SZ = 1031
WRITE = {"x86_64": 1, "aarch64": 64}[os.uname().machine]
FILLER = b"held\n"
PACKET = 4096
libc = ctypes.CDLL(None, use_errno=True)
PAUSE = 0.0005  # seconds between two looks; nothing depends on it


class HeldLog:
    def __init__(self, node):
        self.node = node
        self.hit = threading.Event()
        self.lines = []  # of the daemon that runs, in the order of their writing
        self.wanted = None
        self.held_line = None
        self.passing = 0
        self.error = None
        self.reading = threading.Lock()  # from the pipe to `lines`
        self.closing = False
        path = os.path.join(node.state, "perdured.pipe")
        os.mkfifo(path)
        self.pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.pipe, F_SETPIPE_SZ, PACKET)
        fcntl.fcntl(self.pipe, fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT)
        self.copy = os.pipe2(os.O_CLOEXEC)  # of what is in the other
        node.log_pipe = path
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        self.closing = True
        self.thread.join()
        for end in self.copy:
            os.close(end)
        self.node.log_pipe = None
        if self.error:
            raise self.error

    def arm(self, pattern, passing=0):
        """Kills perdured when it is about to log a line in which `pattern` is found, after so many were let through."""
        self.hit.clear()
        self.passing = passing
        self.wanted = re.compile(pattern)

    def disarm(self):
        self.wanted = None

    def check_that_it_was_held(self):
        """Once perdured has ended: the line (its time stamp makes it unique) never came out."""
        until(lambda: not select.select([self.pipe], [], [], 0)[0], "the pipe is not read")
        with self.reading:
            pass
        assert self.held_line and self.held_line not in self.lines, self.held_line

    # ---- The thread that reads ----

    def _run(self):
        try:
            with open(self.node.log, "a") as log:
                while not self.closing:
                    if self.wanted and not self.hit.is_set():
                        self._step(log)
                    else:
                        self._let_through(log, 20)
        except Exception as error:
            self.error = error
            raise

    def _step(self, log):
        self._fill()
        waiting = self._waiting_lines()
        wanted = [line for line in waiting if self.wanted.search(line) and not self._is_written(line)]
        if wanted and self.passing == 0:
            self.held_line = wanted[0]
            self.hit.set()  # before anybody can notice the end by its connection
            self._kill()
        elif waiting:
            self._let_through(log, 0)
        select.select([], [], [], PAUSE)

    def _kill(self):
        """... and nothing is read until it has ended: room in the pipe comes before a signal for who waits for it."""
        process = os.pidfd_open(self.node.daemon_pid)
        os.kill(self.node.daemon_pid, signal.SIGKILL)
        ended = select.poll()
        ended.register(process, select.POLLIN)
        assert ended.poll(DEADLINE * 1000), "perdured does not end"
        os.close(process)

    def _fill(self):
        try:
            os.write(self.pipe, FILLER)
        except BlockingIOError:
            pass  # full, of that or of a line

    def _is_written(self, line):
        """Its time stamp makes it unique."""
        if line in self.lines:
            return True
        if libc.tee(self.pipe, self.copy[1], PACKET, 0) < 0:
            raise OSError(ctypes.get_errno(), "tee")
        return os.read(self.copy[0], PACKET).decode(errors="replace").rstrip("\n") == line

    def _waiting_lines(self):
        """What perdured's threads wait to write."""
        found = []
        process = f"/proc/{self.node.daemon_pid}"
        try:
            for thread in os.listdir(f"{process}/task"):
                # "running", or the number of the system call, its six arguments, and two addresses
                words = open(f"{process}/task/{thread}/syscall").read().split()
                if len(words) < 4 or int(words[0]) != WRITE or int(words[1], 16) != 2:
                    continue
                with open(f"{process}/mem", "rb", buffering=0) as memory:
                    line = os.pread(memory.fileno(), int(words[3], 16), int(words[2], 16))
                    found.append(line.decode(errors="replace").rstrip("\n"))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EIO):
                raise  # it has ended
        return found

    def _let_through(self, log, milliseconds):
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        if not poll.poll(milliseconds):
            return
        with self.reading:
            packet = os.read(self.pipe, PACKET)
            if packet == FILLER:
                return
            text = packet.decode(errors="replace")
            log.write(text)
            log.flush()
            self.lines.append(text.rstrip("\n"))
            if self.passing > 0 and self.wanted and self.wanted.search(text):
                self.passing -= 1
