"""What is measured: the containers of the cases, what their clients do meanwhile, and the build."""

import os
import subprocess
import sys

from answers import RedisLoad
from support.clip import make_clip
from support.rtsp import RtspClient

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PRODUCT = ["perdured", "perdure", "perdure-logger", "perdure-agent", "perdure_pagemap_filter", "perdure_standby"]


def python_case():
    return {"rootfs": "tools", "command": ["/usr/bin/python3", "-u", "/app/counter.py", "22"], "port": 5000,
            "question": b"get\n", "load": NoLoad}


def vlc_case():
    return {"rootfs": "vlc", "command": ["/usr/bin/vlc", "-I", "dummy", "--rtsp-port", "8554", "--vlm-conf",
                                         "/etc/vod.conf"], "port": 8554, "load": Viewers,
            "question": b"OPTIONS rtsp://server/clip RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "volumes": [{"name": "media", "mount": "/media", "kind": "shared", "host": make_clip(),
                         "access": "read-only"}]}


def redis_case():
    return {"rootfs": "tools", "command": ["/usr/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no",
                                           "--save", "", "--appendonly", "no", "--dir", "/data"], "port": 6379,
            "question": b"PING\r\n", "load": Redis}


def tree_case():
    return {"rootfs": "tools", "command": ["/usr/bin/python3", "-u", "/app/tree.py", "20"], "port": 5000,
            "question": b"check\n", "load": NoLoad}


CASES = {"a": ("python, 32 MB resident", python_case), "b": ("VLC with four viewers", vlc_case),
         "c": ("redis, 200 MB of data under load", redis_case), "d": ("tree of 20 processes", tree_case)}


class NoLoad:
    def __init__(self, client, address, port):
        pass

    def start(self):
        pass

    def stop(self):
        pass


class Viewers:
    """Four viewers; they begin anew after each restore, since the clip ends some time."""

    def __init__(self, client, address, port):
        self.client, self.address = client, address
        self.viewers = []

    def start(self):
        self.viewers = [RtspClient(self.client, self.address).play() for _ in range(4)]
        for viewer in self.viewers:
            viewer.wait_for_packets(20)

    def stop(self):
        for viewer in self.viewers:
            viewer.close()
        self.viewers = []


class Redis(RedisLoad):
    def __init__(self, client, address, port):
        super().__init__(client, address, port, 180_000)
        self.fill()


def build_release(targets=PRODUCT):
    """Builds what is measured; returns the directory of the build."""
    print("bench: building preset release (" + " ".join(targets) + "); --build DIRECTORY skips this", flush=True)
    log = os.path.join(TOP, "build", "configure-release.log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "w") as file:
        configured = subprocess.run(["cmake", "--preset", "release"], cwd=TOP, stdout=file, stderr=subprocess.STDOUT)
    if configured.returncode != 0:
        sys.exit(f"bench: cmake --preset release failed: see {log}; scripts/setup installs what a build needs")
    if subprocess.run(["cmake", "--build", "--preset", "release", "--target", *targets], cwd=TOP).returncode != 0:
        sys.exit("bench: the build failed")
    return os.path.join(TOP, "build", "release")


def compile_program(name):
    """NAME.c of this directory, static; returns the program's path."""
    directory = os.path.join(TOP, "build", "bench")
    os.makedirs(directory, exist_ok=True)
    program = os.path.join(directory, name)
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.c")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        subprocess.run(["gcc-14", "-O2", "-static", "-Wall", "-o", program, source], check=True)
    return program
