"""Removes what test nodes of dead processes left behind: cgroups with what runs in them, and state directories.

Namespaces, mounts, links and addresses vanish with the last process. A node whose owner lives is left alone."""

import os
import re
import shutil

from perdure_lab import cgroups

PREFIX = "perdure-test-"
_NAME = re.compile(re.escape(PREFIX) + r"(\d+)-\d+")


def _owner_is_dead(entry):
    match = _NAME.match(entry)
    return match is not None and not os.path.exists(f"/proc/{match.group(1)}")


def remove_cgroups():
    """Returns the names that were removed."""
    names = {name for name in cgroups.beginning_with(PREFIX) if _owner_is_dead(name)}
    # The daemon before its containers, so that it restores nothing.
    for name in sorted(names, key=lambda name: not name.endswith("-node")):
        cgroups.kill(name)
    for name in names:
        cgroups.remove(name)
    return sorted(names)


def remove_directories(parent):
    """Directories below `parent` that are called PID-...; kept are those of living owners."""
    removed = []
    for entry in os.listdir(parent) if os.path.isdir(parent) else []:
        pid = entry.split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(os.path.join(parent, entry), ignore_errors=True)
            removed.append(entry)
    return removed
