"""A clip for the video server, made by ffmpeg once."""

import os
import subprocess

from .rootfs import TOP

SECONDS = 180


def make_clip():
    """The directory that holds clip.ts: test picture and tone, 1.2 Mbit/s."""
    directory = os.path.join(TOP, "build", "clip")
    path = os.path.join(directory, "clip.ts")
    if not os.path.exists(path):
        os.makedirs(directory, exist_ok=True)
        partial = f"{path}.{os.getpid()}.ts"
        subprocess.run(["ffmpeg", "-loglevel", "error", "-y",
                        "-f", "lavfi", "-i", f"testsrc=size=320x240:rate=25:duration={SECONDS}",
                        "-f", "lavfi", "-i", f"sine=frequency=440:duration={SECONDS}",
                        "-c:v", "mpeg2video", "-b:v", "1000k", "-g", "25", "-c:a", "mp2", "-b:a", "128k",
                        "-f", "mpegts", partial], check=True, stdin=subprocess.DEVNULL)
        os.rename(partial, path)
    return directory
