"""One number kept in three places: in this program, in a redis server (memory) and in a SQLite file (disk).

Counts on as fast as it can; before each step all three have to agree, else it says so for ever.

  state          answers a JSON object {"own", "redis", "sqlite", "broken", "integrity"}
"""

import json
import os
import socket
import sqlite3
import subprocess
import threading
import time

from line_server import LineServer

DATABASE = "/data/ledger.db"
REDIS = "/data/redis.sock"
lock = threading.Lock()
number = 0
broken = None


class Redis:
    """As much of the protocol (RESP) as is needed here."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        parts = [f"*{len(words)}\r\n"] + [f"${len(word)}\r\n{word}\r\n" for word in words]
        self.socket.sendall("".join(parts).encode())
        head = self.file.readline().decode().strip()
        if head.startswith("$"):
            size = int(head[1:])
            return None if size < 0 else self.file.read(size + 2)[:-2].decode()
        return head[1:]


def start_redis():
    process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", REDIS, "--save", "",
                                "--appendonly", "no", "--dir", "/data"], stdout=subprocess.DEVNULL)
    while not os.path.exists(REDIS):
        time.sleep(0.01)
    return process, Redis(REDIS)


server, redis = start_redis()
database = sqlite3.connect(DATABASE, check_same_thread=False, isolation_level=None)
database.execute("pragma journal_mode=wal")
database.execute("create table ledger (number integer primary key, note text)")


def in_sqlite():
    return database.execute("select coalesce(max(number), 0) from ledger").fetchone()[0]


def count():
    global number, broken
    while broken is None:
        with lock:
            found = (number, int(redis.ask("GET", "number") or 0), in_sqlite())
            if len(set(found)) != 1:
                broken = f"own {found[0]}, redis {found[1]}, sqlite {found[2]}"
                break
            number += 1
            redis.ask("SET", "number", str(number))
            database.execute("insert into ledger values (?, ?)", (number, "x" * 100))
        time.sleep(0.001)


def answer(line, _):
    with lock:
        return json.dumps({"own": number, "redis": int(redis.ask("GET", "number") or 0), "sqlite": in_sqlite(),
                           "rows": database.execute("select count(*) from ledger").fetchone()[0],
                           "integrity": database.execute("pragma integrity_check").fetchone()[0],
                           "broken": broken})


threading.Thread(target=count, daemon=True).start()
print("ledger is ready", flush=True)
LineServer(answer).run()
