"""What an operator's Prometheus and `perdure status` see: a container that is protected, killed, recovered, stopped; a perdured that
is killed; a port that something else holds."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from specs import PORT, ipv4, make_spec
from support.metrics import URL, Metrics, scrape, scrape_text
from support.node import until

UNPROTECTED = 8  # exit code
HOLDER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


def status(node):
    done = node.try_cli("status", "--json")
    return done.returncode, json.loads(done.stdout)


def test_a_scrape_before_and_after_a_failure(own_node):
    spec = make_spec("web", "counter.py", 8)
    container = own_node.run(spec)
    lines = own_node.client().lines(ipv4(spec), PORT)
    lines.ask("incr")
    container.checkpoint()
    before = scrape(own_node)
    assert before.value("perdure_container_protected", container="web") == 1
    assert before.all("perdure_container_unprotected") == {}
    assert 0 <= before.value("perdure_container_committed_age_seconds", container="web") < 5
    assert before.value("perdure_container_interval_asked_seconds", container="web") == 0.2
    assert before.value("perdure_container_interval_seconds", container="web") >= 0.2
    assert before.value("perdure_container_restores_total", container="web") == 0
    assert before.value("perdure_container_last_restore_seconds", container="web", step="restored") is None
    assert before.value("perdure_cluster_quorum") is None, "there is no cluster"
    assert before.value("perdure_cluster_member") == 0
    captures = before.value("perdure_container_captures_total", container="web")
    assert captures >= 2
    frozen = before.value("perdure_container_capture_frozen_seconds_total", container="web")
    assert 0 < frozen / captures < 1
    assert before.value("perdure_container_last_capture_full_bytes", container="web") > 8 << 20
    assert before.value("perdure_container_capsule_memory_bytes", container="web") > 8 << 20
    assert before.value("perdure_capture_frozen_seconds_count") == captures
    assert before.value("perdure_gate_open", container="web") == 1
    passed = before.value("perdure_gate_frames_passed_total", container="web")
    assert passed > 0
    assert abs(time.time() - before.value("process_start_time_seconds")) < 300

    container.kill_and_wait()
    until(lambda: container.inspect()["last_restore"]["first_packet_ns"], "no first packet")
    after = scrape(own_node)
    last = container.inspect()["last_restore"]
    assert after.value("perdure_container_protected", container="web") == 1
    assert after.value("perdure_container_restores_total", container="web") == 1
    assert after.value("perdure_container_failures_total", container="web") == 1
    assert after.value("perdure_container_last_restore_seconds", container="web", step="restored") == pytest.approx(last["restored_ns"] / 1e9)
    assert after.value("perdure_container_last_restore_seconds", container="web", step="first_packet") == pytest.approx(last["first_packet_ns"] / 1e9)
    assert after.value("perdure_restore_seconds_count", step="restored") == 1
    assert after.value("perdure_restore_seconds_sum", step="restored") == pytest.approx(last["restored_ns"] / 1e9)
    assert after.value("perdure_gate_closures_total", container="web", cause="perdured") == 1
    assert after.value("perdure_gate_frames_passed_total", container="web") >= passed
    assert after.value("perdure_events_total", kind="restored", severity="info") == 1
    assert after.types["perdure_restore_seconds"] == "histogram"
    for name, kind in after.types.items():
        assert kind != "counter" or name.endswith("_total")
        assert after.helps[name].endswith(".")


def test_a_death_closes_the_gate_in_the_kernel_first(own_node):
    report = own_node.ask("doctor")
    gate = next(line for line in report["lines"] if line["check"] == "gate")
    if gate["state"] != "ok":
        pytest.skip(f"no exit hook here: {gate['found']}")
    container = own_node.run(make_spec("web", "counter.py", 1))
    container.kill_and_wait()
    metrics = scrape(own_node)
    assert metrics.value("perdure_gate_closures_total", container="web", cause="death") == 1
    assert metrics.value("perdure_gate_closures_total", container="web", cause="perdured") == 1
    assert metrics.value("perdure_gate_open", container="web") == 1


def test_status_is_one_screen_and_its_exit_code_says_whether_all_is_well(own_node):
    empty = own_node.try_cli("status")
    assert empty.returncode == 0, empty.stdout
    own_node.run(make_spec("web", "counter.py", 1))
    container = own_node.container("web")
    done = own_node.try_cli("status")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("all is well\n")
    assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout
    container.kill_and_wait()
    code, answer = status(own_node)
    web = answer["containers"][0]
    assert (code, answer["well"], answer["cluster"]) == (0, True, None)
    assert web["last_restore"]["restored_ns"] > 0
    assert web["gate"]["traffic"]["passed"] >= 0
    assert answer["daemon"]["metrics_address"] == "127.0.0.1:7480"
    table = own_node.try_cli("status").stdout
    assert " ms, " in table or " s, " in table, "how long the recovery took"

    # Stopped by an operator: nothing is wrong, and nothing is said to be lost.
    own_node.cli("stop", "web")
    code, answer = status(own_node)
    assert (code, answer["problems"]) == (0, [])
    metrics = scrape(own_node)
    assert metrics.value("perdure_container_protected", container="web") is None
    assert metrics.value("perdure_container_committed_age_seconds", container="web") is None
    assert metrics.value("perdure_containers", phase="stopped") == 1


def test_a_container_that_was_given_up_is_a_problem(own_node):
    spec = make_spec("web", "counter.py", 1, restart={"max-restores": 1, "window": "1h", "probation": "0s"})
    container = own_node.run(spec)
    for _ in range(2):
        container.kill()
        container.wait_until(lambda it: it["phase"] in ("running", "failed"), "neither runs nor fails")
        if container.inspect()["phase"] == "failed":
            break
        container.wait_until_protected()
    container.wait_until(lambda it: it["phase"] == "failed", "does not fail")
    metrics = scrape(own_node)
    assert metrics.value("perdure_container_protected", container="web") == 0
    assert metrics.value("perdure_container_unprotected", container="web", reason="failed") == 1
    code, answer = status(own_node)
    assert code == UNPROTECTED and not answer["well"]
    assert answer["problems"][0]["object"] == "container web"
    assert answer["problems"][0]["remedy"]


def test_a_killed_perdured_counts_its_starts_and_knows_what_it_finds(own_node):
    own_node.run(make_spec("web", "counter.py", 1))
    first = scrape(own_node)
    own_node.kill_daemon(signal.SIGKILL)
    assert own_node.try_cli("status").returncode == 3, "perdured does not run"
    own_node.start_daemon()
    own_node.container("web").wait_until_protected()
    second = scrape(own_node)
    assert second.value("perdure_daemon_starts_total") == first.value("perdure_daemon_starts_total") + 1
    assert second.value("process_start_time_seconds") > first.value("process_start_time_seconds")
    assert second.value("perdure_container_protected", container="web") == 1
    assert second.value("perdure_container_restores_total", container="web") == 0
    assert second.value("perdure_gate_frames_passed_total", container="web") >= first.value("perdure_gate_frames_passed_total", container="web")


def test_a_port_that_is_taken_keeps_nothing_from_working(own_node):
    own_node.kill_daemon(signal.SIGTERM)
    holder = subprocess.Popen(own_node.argv([sys.executable, "-c", HOLDER, "7480"]), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        own_node.start_daemon()
        own_node.run(make_spec("web", "counter.py", 1))
        code, answer = status(own_node)
        assert code == 0, "containers are protected"
        assert "another program listens there" in answer["daemon"]["metrics_error"]
        assert any("metrics are not served" in line for line in answer["advice"])
        line = next(line for line in own_node.ask("doctor")["lines"] if line["check"] == "metrics")
        assert line["state"] == "limited" and "--metrics" in line["remedy"]
        assert own_node.events.wait("metrics_not_served")["severity"] == "warning"
    finally:
        holder.stdin.close()
        holder.wait(10)
    # It is tried again every 30 seconds.
    until(lambda: not own_node.ask("version")["daemon"]["metrics_error"], "is not tried again", 60)
    assert scrape(own_node).value("perdure_container_protected", container="web") == 1


@pytest.mark.node_options("--metrics", "off")
def test_metrics_can_be_switched_off(own_node):
    with pytest.raises(Exception, match="refused"):
        scrape(own_node)
    assert own_node.ask("version")["daemon"]["metrics_address"] is None
    assert "switched off" in own_node.try_cli("status").stdout


@pytest.mark.node_options("--metrics", "127.0.0.1:9101")
def test_promtool_takes_a_scrape(own_node):
    own_node.run(make_spec("web", "counter.py", 1))
    text = scrape_text(own_node, URL.replace("7480", "9101"))
    assert Metrics(text).value("perdure_container_protected", container="web") == 1
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus); the scrape itself was read")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
