"""Every command of perdure against a real perdured, as an operator uses it."""

import os
import re
import subprocess
import time

import pytest
from specs import PORT, ipv4, make_spec
from support.node import CommandFailed


@pytest.fixture
def counter(node, remove_after):
    spec = make_spec("counter", "counter.py", 4)
    remove_after.append("counter")
    return node.run(spec), spec


def failure(node, *arguments, **options):
    """(exit code, error object) of a command that has to fail."""
    with pytest.raises(CommandFailed) as raised:
        node.ask(*arguments, **options)
    return raised.value.code, raised.value.reply()


def test_run_shows_the_container_protected(node, remove_after):
    remove_after.append("counter")
    path = node.write_spec(make_spec("counter", "counter.py"))
    reply = node.ask("run", "--yes", path)["container"]
    assert reply["phase"] == "running"
    assert reply["protection"]["state"] == "protected"
    assert reply["newest_committed"]["generation"]
    assert "counter" in node.cli("list")


def test_run_reads_standard_input(node, remove_after):
    remove_after.append("counter")
    path = node.write_spec(make_spec("counter", "counter.py"))
    node.cli("run", "--yes", "-", input=open(path).read())
    assert node.names() == ["counter"]


def test_the_same_name_twice_is_refused(node, counter):
    code, error = failure(node, "run", "--yes", node.write_spec(make_spec("counter", "counter.py")))
    assert code == 6
    assert "counter" in error["message"]
    assert node.names() == ["counter"]


def test_a_wrong_specification_names_line_and_column(node):
    path = os.path.join(node.state, "wrong.yaml")
    with open(path, "w") as file:
        file.write("name: web\ncomand: [x]\nroot-filesystem: {directory: /nonexistent}\n")
    code, error = failure(node, "run", "--yes", path)
    assert code == 5
    assert "wrong.yaml:2:1" in error["message"] + " ".join(error["detail"])
    assert node.names() == []


def test_list_and_inspect_agree(node, counter):
    container, spec = counter
    listed = node.ask("list")["containers"]
    assert [c["name"] for c in listed] == ["counter"]
    inspected = node.ask("inspect", "counter")
    assert inspected["container"]["init_pid"] == listed[0]["init_pid"]
    assert os.path.exists(f"/proc/{listed[0]['init_pid']}")
    assert spec["network"]["ipv4"] in inspected["container"]["addresses"]
    assert spec["network"]["ipv6"] in inspected["container"]["addresses"]
    assert "counter.py" in inspected["spec_yaml"]
    assert any(event["kind"] == "started" for event in inspected["recent_events"])
    assert "counter.py" in node.cli("inspect", "--spec", "counter")


def test_what_inspect_prints_as_specification_runs(node, counter):
    container, _ = counter
    path = os.path.join(node.state, "again.yaml")
    with open(path, "w") as file:
        file.write(node.cli("inspect", "--spec", "counter"))
    assert node.try_cli("spec", "--check", path).returncode == 0


def test_unknown_container(node):
    for arguments in (["inspect", "nobody"], ["checkpoint", "nobody"], ["logs", "nobody"], ["stop", "nobody"],
                      ["generations", "nobody"], ["rm", "--yes", "nobody"], ["restore", "--yes", "nobody"]):
        code, error = failure(node, *arguments)
        assert code == 4, arguments
        assert "nobody" in error["message"]


def test_logs(node, remove_after):
    remove_after.append("talker")
    spec = make_spec("talker", "counter.py")
    spec["command"] = ["/bin/sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done; exec sleep 1000000"]
    container = node.run(spec)
    result = node.try_cli("logs", "talker")
    assert result.stdout == "out 1\nout 2\nout 3\n"
    assert result.stderr == "err 1\nerr 2\nerr 3\n"
    tail = node.try_cli("logs", "--tail", "2", "talker")
    assert len((tail.stdout + tail.stderr).splitlines()) == 2
    assert container


def test_logs_follow_over_a_restore(node, remove_after):
    remove_after.append("talker")
    spec = make_spec("talker", "counter.py")
    spec["command"] = ["/bin/sh", "-c", "i=0; while :; do sleep 0.05 || echo sleep ends with $? >&2; i=$((i+1)); echo line $i; done"]
    container = node.run(spec)
    follow = node.popen_cli(["logs", "--follow", "talker"], stdout=subprocess.PIPE, text=True)
    try:
        last = int(follow.stdout.readline().split()[1])
        container.checkpoint()
        container.kill_and_wait()
        numbers = []
        while len(numbers) < 60:
            numbers.append(int(follow.stdout.readline().split()[1]))
        # Lines may repeat after the restore; none is left out.
        for previous, number in zip([last, *numbers], numbers):
            assert number <= previous + 1
        assert numbers[-1] > last
    finally:
        follow.kill()
        follow.wait()


def test_checkpoint_and_generations(node, counter):
    container, _ = counter
    taken = container.checkpoint()
    capture = taken["capture"]
    assert 0 < capture["frozen_ns"] < 5e9
    assert capture["full_bytes"] > 4 << 20
    assert capture["total_pages"] > 1000
    rows = container.generations()
    assert taken["generation"]["generation"] in [row["generation"] for row in rows]
    assert [row["created"] for row in rows] == sorted((row["created"] for row in rows), reverse=True)
    assert all(row["committed"] and row["durable"] for row in rows if not row["bad"])
    assert "FULL" in node.cli("generations", "counter")


def test_no_more_generations_are_kept_than_asked(node, remove_after):
    remove_after.append("counter")
    container = node.run(make_spec("counter", "counter.py", checkpoint={"generations": 2, "interval": "1h"}))
    for _ in range(6):
        container.checkpoint()
    # A delta needs its bases, which are kept as long; the oldest are gone.
    rows = container.generations()
    assert 2 <= len(rows) <= 20
    assert len([row for row in rows if row["committed"] and not row["bad"]]) >= 2


def test_a_delta_is_smaller_than_what_it_stands_for(node, remove_after):
    remove_after.append("counter")
    container = node.run(make_spec("counter", "counter.py", 32, checkpoint={"interval": "1h"}))
    rows = [container.checkpoint()["generation"] for _ in range(3)]
    deltas = [row for row in rows if row["kind"] == "delta"]
    assert deltas
    assert all(row["kept_bytes"] < row["full_bytes"] / 10 for row in deltas)


def test_restore_takes_the_container_back(node, counter):
    container, spec = counter
    client = node.client()
    lines = client.lines(ipv4(spec), PORT)
    lines.ask("incr")
    generation = container.checkpoint()["generation"]["generation"]
    lines.ask("incr")
    container.checkpoint()
    reply = node.ask("restore", "--yes", "--generation", generation, "counter")
    assert reply["restore"]["generation"] == generation
    assert client.lines(ipv4(spec), PORT).ask("get") == "1"
    assert reply["container"]["phase"] == "running"


def test_restore_asks_first(node, counter):
    code, error = failure(node, "restore", "counter")
    assert code == 6
    assert "--yes" in error["message"] + (error["remedy"] or "")


def test_restore_of_an_unknown_generation(node, counter):
    code, _ = failure(node, "restore", "--yes", "--generation", "1.ff.999999", "counter")
    assert code == 4
    assert node.container("counter").inspect()["phase"] == "running"


def test_export_and_import_bring_memory_and_files_along(node, remove_after):
    remove_after.append("origin")
    remove_after.append("copy")
    spec = make_spec("origin", "counter.py", 4)
    container = node.run(spec)
    lines = node.client().lines(ipv4(spec), PORT)
    for _ in range(7):
        number = lines.ask("incr")
    container.checkpoint()
    life = lines.ask("pid")
    archive = os.path.join(node.state, "origin.capsule")
    exported = node.ask("export", "origin", archive)
    assert os.path.getsize(archive) == exported["bytes"]
    assert os.stat(archive).st_mode & 0o777 == 0o600
    assert failure(node, "export", "origin", archive)[0] == 6, "an existing file is not overwritten"
    container.remove()
    imported = node.ask("import", archive, "--name", "copy")
    assert imported["original_name"] == "origin"
    assert imported["container"]["phase"] == "stopped"
    node.ask("restore", "--yes", "copy")
    after = node.client().lines(ipv4(spec), PORT)
    assert (after.ask("get"), after.ask("file"), after.ask("pid")) == (number, number, life)
    node.container("copy").wait_until_protected()


def test_export_through_a_pipe(node, counter):
    data = node.try_cli("export", "counter", "-", text=False)
    assert data.returncode == 0
    node.cli("rm", "--force", "--yes", "counter")
    result = node.try_cli("import", "-", input=data.stdout, text=False)
    assert result.returncode == 0, result.stderr
    node.ask("restore", "--yes", "counter")


def test_import_of_a_damaged_archive_is_refused(node, counter):
    archive = os.path.join(node.state, "damaged.capsule")
    node.ask("export", "counter", archive)
    node.cli("rm", "--force", "--yes", "counter")
    content = bytearray(open(archive, "rb").read())
    for at in (0, len(content) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[at] ^= 0x40
        with open(archive, "wb") as file:
            file.write(damaged)
        code, _ = failure(node, "import", archive)
        assert code in (5, 10), f"byte {at}"
    with open(archive, "wb") as file:
        file.write(content[:len(content) // 3])
    assert failure(node, "import", archive)[0] in (5, 10)
    assert node.names() == []


def test_stop_start_and_restore(node, counter):
    container, spec = counter
    client = node.client()
    lines = client.lines(ipv4(spec), PORT)
    lines.ask("incr")
    stopped = node.ask("stop", "counter")
    assert stopped["container"]["phase"] == "stopped"
    assert container.pids() == []
    assert failure(node, "checkpoint", "counter")[0] == 6
    started = node.ask("start", "--yes", "counter")
    assert started["container"]["protection"]["state"] == "protected"
    assert client.lines(ipv4(spec), PORT).ask("get") == "0", "a start is afresh"
    node.ask("stop", "counter")
    node.ask("restore", "--yes", "counter")
    assert client.lines(ipv4(spec), PORT).ask("get") == "0"


def test_the_last_generation_of_a_stop_holds_all(node, remove_after):
    remove_after.append("counter")
    spec = make_spec("counter", "counter.py", checkpoint={"interval": "1h"})
    node.run(spec)
    client = node.client()
    lines = client.lines(ipv4(spec), PORT)
    for _ in range(3):
        lines.ask("incr")
    node.ask("stop", "counter")
    node.ask("restore", "--yes", "counter")
    assert client.lines(ipv4(spec), PORT).ask("get") == "3"


def test_a_container_that_ignores_the_stop_signal_is_killed(node, remove_after):
    remove_after.append("stubborn")
    spec = make_spec("stubborn", "counter.py")
    spec["command"] = ["/bin/sh", "-c", "trap '' TERM; while sleep 1000; do :; done"]
    node.run(spec)
    begin = time.monotonic()
    stopped = node.ask("stop", "--deadline", "500ms", "stubborn")
    assert stopped["killed"]
    assert time.monotonic() - begin > 0.5
    assert node.container("stubborn").pids() == []


def test_rm_leaves_nothing(node, counter):
    container, _ = counter
    assert failure(node, "rm", "--yes", "counter")[0] == 6, "it runs"
    home = os.path.join(node.state, "state", "containers", "counter")
    capsules = os.path.join(node.state, "state", "capsules", "counter")
    assert os.path.exists(home) and os.path.exists(capsules)
    removed = node.ask("rm", "--force", "--yes", "counter")
    assert removed["was_running"]
    assert removed["freed_bytes"] > 0
    assert not os.path.exists(home) and not os.path.exists(capsules)
    assert container.pids() == []
    assert node.names() == []
    links = node.execute("ip", "-br", "link").stdout
    assert len(re.findall(r"^(?!lo|br0|client|pd[ip]-)\S+", links, re.MULTILINE)) == 0, links
    assert "counter" not in node.execute("cat", "/proc/self/mountinfo").stdout


def test_rm_may_keep_the_capsules(node, counter):
    kept = node.ask("rm", "--force", "--yes", "--keep-capsules", "counter")["kept_capsules"]
    assert any(name.endswith(".capsule") for name in os.listdir(kept))
    # The store is free for somebody else of this name only when it is gone.
    import shutil
    shutil.rmtree(kept)


def test_events(node, counter):
    container, _ = counter
    after = node.events.last_sequence()
    container.kill_and_wait()
    lines = node.cli("events", "counter")
    assert "restored" in lines
    kinds = [event["kind"] for event in container.events(after)]
    assert kinds.index("died") < kinds.index("restoring") < kinds.index("restored")
    sequences = [event["sequence"] for event in node.events.of()]
    assert sequences == sorted(sequences)
    assert len(node.cli("events", "--since", "0s", "counter").splitlines()) <= 1


def test_doctor_finds_this_host_fit(node):
    report = node.ask("doctor")
    assert report["daemon_reached"]
    assert [line for line in report["lines"] if line["state"] == "missing"] == []
    assert "criu" in node.cli("doctor")


def test_version_tells_daemon_and_tools(node):
    version = node.ask("version")
    assert version["daemon"]["pid"] == node.daemon_pid
    assert version["daemon"]["criu"]
    assert version["daemon"]["runtime"]


def test_completion_offers_containers(node, counter):
    script = node.cli("completion", "bash")
    path = os.path.join(node.state, "completion.bash")
    with open(path, "w") as file:
        file.write(script)
    directory = os.path.dirname(node.perdure)
    shell = (f"PATH={directory}:$PATH; PERDURE_SOCKET=/run/perdure/perdured.sock; export PERDURE_SOCKET; "
             f". {path}; COMP_WORDS=(perdure inspect cou); COMP_CWORD=2; COMP_LINE='perdure inspect cou'; "
             "COMP_POINT=${#COMP_LINE}; f=$(complete -p perdure | sed -E 's/.*-F ([^ ]+).*/\\1/'); "
             "$f perdure cou inspect; printf '%s\\n' \"${COMPREPLY[@]}\"")
    assert "counter" in node.execute("bash", "-c", shell).stdout.split()


def test_without_a_daemon_commands_say_so(node):
    result = node.try_cli("--socket", "/run/perdure/nobody.sock", "list", "--json")
    assert result.returncode in (2, 3)
