"""A lab for the tests, and a look at what a lab leaves on the host."""

import os
import subprocess
import sys

import pytest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "e2e"), os.path.join(TESTS, "support", "programs")]
from support import cgroups, deadline  # noqa: E402
from support.rootfs import TOP, make_rootfs  # noqa: E402
from perdure_lab import Lab, remains  # noqa: E402

BUILD = os.environ.get("PERDURE_BUILD", os.path.join(TOP, "build", "dev"))
LONGEST_TEST = 150  # seconds
_live = []


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the tests of the lab need root", 2)
    if not os.path.exists(os.path.join(BUILD, "src/node/perdured")):
        pytest.exit(f"{BUILD}/src/node/perdured does not exist: make build", 2)
    os.environ["PERDURE_BUILD"] = BUILD
    remove_dead_labs()
    make_rootfs("tools")  # in no test's time


def remove_dead_labs():
    """Of test sessions that were killed."""
    for name in remains.names():
        if name.startswith("test-") and not os.path.exists(f"/proc/{name.split('-')[1]}"):
            lock = remains.take_lock(name)
            if lock is not None:
                remains.remove_lab(name)
                remains.drop_lock(name, lock)


def traces(name):
    """What of the lab is on the host, by words."""
    found = [path for path in (os.path.join(remains.RUN, name), os.path.join(remains.RUN, f"{name}.lock"),
                               os.path.join(remains.STATE, name)) if os.path.lexists(path)]
    for mount in cgroups.all_mounts():
        if os.path.exists(os.path.join(mount, f"perdure-lab-{name}")):
            found.append(os.path.join(mount, f"perdure-lab-{name}"))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                command = file.read().replace("\0", " ")
        except OSError:
            continue
        if name in command and int(pid) != os.getpid():
            found.append(f"process {pid}: {command}")
    return found


def host_state():
    """Mounts, links and namespaces of the host; of the namespaces those that some process is in."""
    with open("/proc/self/mountinfo") as file:
        mounts = sorted(line.split()[4] for line in file)
    links = sorted(os.listdir("/sys/class/net"))
    rules = subprocess.run(["nft", "list", "tables"], stdout=subprocess.PIPE, text=True).stdout
    return mounts, links, rules


@pytest.fixture
def make_lab(request):
    """Lab(...) that ends with the test, whatever happens."""
    made = []

    def make(*arguments, **options):
        lab = Lab(*arguments, build=BUILD, **options)
        lab.__enter__()
        made.append(lab)
        _live.append(lab)
        return lab
    yield make
    for lab in made:
        _live.remove(lab)
        lab.down()
        assert traces(lab.name) == []


@pytest.fixture(scope="module")
def lab():
    """Three nodes for all tests of a file that put right what they break."""
    with Lab(nodes=3, build=BUILD) as one:
        _live.append(one)
        yield one
        _live.remove(one)
    assert traces(one.name) == []


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    from moving import Clusters
    those = Clusters(BUILD, str(tmp_path_factory.mktemp("criu")), _live)
    yield those
    those.drop()


@pytest.fixture
def cluster(clusters):
    """Three nodes that are one cluster, on which nothing runs; moving.py says what they can be made to do."""
    yield clusters.get()
    clusters.check()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with deadline.longest(LONGEST_TEST):
        yield


def waits_of(node):
    """What the threads of its perdured wait for in the kernel: one that hangs is seen by nobody else."""
    waits = []
    try:
        for thread in os.listdir(f"/proc/{node.daemon_pid}/task"):
            with open(f"/proc/{node.daemon_pid}/task/{thread}/stack") as file:
                waits.append(" < ".join(line.split()[1].split("+")[0] for line in file.read().splitlines()[:6]))
    except (OSError, IndexError, TypeError) as error:
        return f"\n{error}"
    return "\n" + "\n".join(sorted(waits))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "teardown" or not report.failed:
        return
    for lab in _live:
        for node in lab.nodes.values():
            lines = [line for line in node.daemon_log().splitlines() if "debug control connection" not in line]
            report.sections.append((f"perdured of {lab.name} {node.name}", "\n".join(lines)[-6000:] + waits_of(node)))
        try:
            with open(os.path.join(remains.directory(lab.name), "keeper.log")) as file:
                report.sections.append((f"keeper of {lab.name}", file.read()[-2000:]))
        except OSError:
            pass
