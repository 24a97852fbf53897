"""Nodes for the tests, and what a failed test shows: the daemon's log and the events."""

import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from support import cgroups, deadline, leftovers  # noqa: E402
from support.node import Node  # noqa: E402
from support.rootfs import TOP, make_rootfs  # noqa: E402

BUILD = os.environ.get("PERDURE_BUILD", os.path.join(TOP, "build", "dev"))
NODES = os.path.join(TOP, "build", "nodes")
LONGEST_TEST = 300  # seconds
_live = []


def pytest_configure(config):
    config.addinivalue_line("markers", "node_options(*options): further arguments of perdured")


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests need root", 2)
    if not os.path.exists(os.path.join(BUILD, "src/node/perdured")):
        pytest.exit(f"{BUILD}/src/node/perdured does not exist: make build", 2)
    leftovers.remove_cgroups()
    leftovers.remove_directories(NODES)
    for name in ("tools", "nginx", "vlc"):
        make_rootfs(name)  # once, and in no test's time


def _node(name, options=()):
    node = Node(BUILD, os.path.join(NODES, f"{os.getpid()}-{name}"), options)
    _live.append(node)
    return node


def _finish(node, name):
    node.close()
    _live.remove(node)
    left = [name for name in (node.name, f"{node.name}-node") if os.path.isdir(os.path.join(cgroups.v2_mount(), name))]
    if not os.environ.get("PERDURE_KEEP"):
        shutil.rmtree(node.state, ignore_errors=True)
    assert not left, f"cgroups are left: {left}"


@pytest.fixture(scope="module")
def node(request):
    """One for all tests of a file: for tests that leave the daemon alone. NODE_OPTIONS: further arguments of perdured."""
    name = request.module.__name__.split(".")[-1]
    with _node(name, getattr(request.module, "NODE_OPTIONS", ())) as one:
        one.start_daemon()
        yield one
        _finish(one, name)


@pytest.fixture
def own_node(request):
    """For one test, with its daemon running."""
    marker = request.node.get_closest_marker("node_options")
    name = request.node.name.replace("[", "-").replace("]", "").replace("/", "-")
    with _node(name, marker.args if marker else ()) as one:
        one.start_daemon()
        yield one
        _finish(one, name)


@pytest.fixture
def remove_after(node):
    """Containers of the shared node that a test makes, by name; removed at its end, however it ends."""
    names = []
    yield names
    for name in names:
        node.try_cli("rm", "--force", "--yes", name)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with deadline.longest(LONGEST_TEST):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "teardown" or not report.failed:
        return
    for node in _live:
        report.sections.append((f"perdured of {node.name}", node.daemon_log()[-6000:]))
        if node.events:
            lines = [f"{e['sequence']:4} {e['time'][11:23]} {e['container']} {e['kind']}: {e['text']} {e['reason'] or ''}"
                     for e in node.events.of()]
            report.sections.append((f"events of {node.name}", "\n".join(lines[-60:])))
