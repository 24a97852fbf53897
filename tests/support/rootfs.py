"""Root file systems for containers, put together from programs of this machine and the libraries they need.

Each is made once per content of its sources, below build/rootfs/NAME-DIGEST, and never changed afterwards.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.path.join(TOP, "build", "rootfs")
PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_PYTHON_VERSION = "{}.{}".format(*sys.version_info)  # of /usr/bin/python3, which runs all of this
PYTHON_LIBRARY = f"/usr/lib/python{_PYTHON_VERSION}"
# Nothing that a test's program imports.
_PYTHON_UNUSED = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "pydoc_data", "distutils", "turtledemo",
                  "unittest", f"config-{_PYTHON_VERSION}-x86_64-linux-gnu", "__phello__"}
# What a server of RTSP needs; the rest (codecs, displays) would bring 300 MB of libraries.
_VLC_PLUGINS = ["access", "access_output", "control", "demux", "keystore", "logger", "misc", "mux", "packetizer",
                "stream_extractor", "stream_filter", "stream_out"]


def _needs(path):
    """Shared libraries of a program or library, as the dynamic linker finds them."""
    result = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = []
    for line in result.stdout.splitlines():
        match = re.search(r"(?:=> )?(/\S+) \(0x", line)
        if match:
            found.append(match.group(1))
    return found


class RootFs:
    """A root file system that is being put together in `target`."""

    def __init__(self, target):
        self.target = target
        self.copied = set()
        for directory in ("usr/bin", "usr/sbin", "usr/lib64", LIBRARIES[1:], "etc", "tmp", "run", "var/tmp",
                          "var/lib", "data", "root", "dev", "proc", "sys", "media", "dev/shm"):
            os.makedirs(os.path.join(target, directory), exist_ok=True)
        for link in ("bin", "sbin", "lib", "lib64"):
            os.symlink(f"usr/{link}", os.path.join(target, link))
        for directory in ("tmp", "var/tmp", "dev/shm"):
            os.chmod(os.path.join(target, directory), 0o1777)
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        self.write("etc/group", "root:x:0:\nnogroup:x:65534:\n")
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")

    def path(self, inside):
        return os.path.join(self.target, inside.lstrip("/"))

    def write(self, inside, text):
        os.makedirs(os.path.dirname(self.path(inside)), exist_ok=True)
        with open(self.path(inside), "w") as file:
            file.write(text)

    def add_file(self, source, inside=None):
        """A file with the content of `source` (links are followed) and the libraries it needs."""
        inside = inside or source
        # /lib is a link to /usr/lib, on both sides.
        inside = re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", inside)
        if inside in self.copied:
            return
        self.copied.add(inside)
        os.makedirs(os.path.dirname(self.path(inside)), exist_ok=True)
        shutil.copy2(os.path.realpath(source), self.path(inside))
        with open(source, "rb") as file:
            if file.read(4) == b"\x7fELF":
                for library in _needs(source):
                    self.add_file(library)

    def add_tree(self, source, inside=None, skip=()):
        inside = inside or source
        for directory, directories, files in os.walk(source):
            directories[:] = [name for name in directories if name not in skip]
            relative = os.path.relpath(directory, source)
            os.makedirs(self.path(os.path.join(inside, relative)), exist_ok=True)
            for name in files:
                self.add_file(os.path.join(directory, name), os.path.normpath(os.path.join(inside, relative, name)))

    # ---- Programs ----

    def add_busybox(self):
        self.add_file("/bin/busybox")
        applets = subprocess.run(["/bin/busybox", "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
        for applet in applets.split():
            link = self.path(f"usr/bin/{applet}")
            if applet != "busybox" and not os.path.lexists(link):
                os.symlink("busybox", link)

    def add_python(self):
        self.add_file("/usr/bin/python3")
        self.add_tree(PYTHON_LIBRARY, skip=_PYTHON_UNUSED)

    def add_redis(self):
        self.add_file("/usr/bin/redis-server")
        self.add_file("/usr/bin/redis-cli")

    def add_vlc(self):
        self.add_file("/usr/bin/vlc")
        let_root_run_vlc(self.path("usr/bin/vlc"))
        for kind in _VLC_PLUGINS:
            self.add_tree(f"{LIBRARIES}/vlc/plugins/{kind}")
        self.add_file("/etc/services")

    def add_nginx(self):
        self.add_file("/usr/sbin/nginx")
        self.write("etc/nginx/nginx.conf", _NGINX_CONF)


def let_root_run_vlc(path):
    """VLC refuses to run as user 0. In this copy it asks getpid() instead of geteuid(), which is never 0; getppid()
    is, of a container's first process."""
    with open(path, "r+b") as file:
        content = file.read()
        if content.count(b"\0geteuid\0") != 1:
            raise RuntimeError(f"{path}: geteuid is not asked for exactly once; this VLC is another one")
        file.seek(0)
        file.write(content.replace(b"\0geteuid\0", b"\0getpid\0\0"))


# One worker, which names itself.
_NGINX_CONF = """daemon off;
user root;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen 80;
    location = /worker { return 200 "$pid\n"; }
  }
}
"""


def _build_tools(root):
    root.add_busybox()
    root.add_python()
    root.add_redis()
    root.add_tree(PROGRAMS, "/app", skip={"__pycache__"})


def _build_vlc(root):
    root.add_busybox()
    root.add_vlc()
    # An address, not "localhost", in the descriptions that it gives; one clip, played from its beginning.
    root.write("etc/vod.conf", "new clip vod enabled\nsetup clip input /media/clip.ts\n")


def _build_nginx(root):
    root.add_busybox()
    root.add_nginx()


# Name: (what makes it, files whose change makes another one)
_RECIPES = {
    "tools": (_build_tools, ["/bin/busybox", "/usr/bin/python3", "/usr/bin/redis-server", "/usr/bin/redis-cli",
                             f"{LIBRARIES}/libc.so.6", f"{LIBRARIES}/libsqlite3.so.0", PROGRAMS]),
    "nginx": (_build_nginx, ["/bin/busybox", "/usr/sbin/nginx", f"{LIBRARIES}/libc.so.6"]),
    "vlc": (_build_vlc, ["/bin/busybox", "/usr/bin/vlc", f"{LIBRARIES}/libvlccore.so.9", f"{LIBRARIES}/libc.so.6"]),
}


def _digest(sources):
    state = hashlib.sha256()
    for source in [os.path.abspath(__file__), *sources]:
        files = [source]
        if os.path.isdir(source):
            files = sorted(os.path.join(directory, name) for directory, _, names in os.walk(source)
                           for name in names if not name.endswith(".pyc"))
        for path in files:
            state.update(path.encode())
            with open(path, "rb") as file:
                state.update(file.read())
    return state.hexdigest()[:16]


def make_rootfs(name, files=()):
    """The directory of the root file system called `name`: "tools" (busybox, python3 with sqlite3, redis, and the
    programs of tests/support/programs in /app), "nginx" or "vlc" (a server of RTSP without codecs). `files` are further files
    of this machine, with their libraries, which go to the top directory."""
    build, sources = _RECIPES[name]
    target = os.path.join(CACHE, f"{name}-{_digest([*sources, *files])}")
    if os.path.isdir(target):
        return target
    partial = f"{target}.{os.getpid()}"
    root = RootFs(partial)
    build(root)
    for file in files:
        root.add_file(file, f"/{os.path.basename(file)}")
    try:
        os.rename(partial, target)
    except OSError:  # somebody else was faster
        shutil.rmtree(partial)
    # Those of older versions, unless they were in use a moment ago.
    for entry in os.listdir(CACHE):
        old = os.path.join(CACHE, entry)
        if entry.startswith(f"{name}-") and old != target and os.path.isdir(old) and \
                os.path.getmtime(target) - os.path.getmtime(old) > 3600:
            shutil.rmtree(old, ignore_errors=True)
    return target


if __name__ == "__main__":
    for wanted in sys.argv[1:] or _RECIPES:
        print(make_rootfs(wanted))
