"""When restoring does not help: the generation before, the limit, the cold start, the end."""

from specs import PORT, ipv4, make_spec


def test_a_container_that_dies_after_its_restore_falls_back_to_the_generation_before(node, remove_after):
    remove_after.append("doomed")
    spec = make_spec("doomed", "counter.py", checkpoint={"interval": "1h"}, restart={"probation": "1min"})
    container = node.run(spec)
    client = node.client()
    lines = client.lines(ipv4(spec), PORT)
    generations = []
    for _ in range(3):
        lines.ask("incr")
        generations.append(container.checkpoint()["generation"]["generation"])
    for expected in (3, 2, 1):
        after, _ = container.kill()
        restored = container.wait_for_event("restored", after)
        assert restored["generation"] == generations[expected - 1]
        assert client.lines(ipv4(spec), PORT).ask("get") == str(expected)
    bad = {row["generation"]: row["bad"] for row in container.generations()}
    assert bad[generations[2]] and bad[generations[1]]


def test_after_the_limit_it_stays_down_until_an_operator_starts_it(node, remove_after):
    remove_after.append("failing")
    spec = make_spec("failing", "counter.py", restart={"max-restores": 2, "window": "1h"})
    container = node.run(spec)
    for _ in range(2):
        container.kill_and_wait()
    after, _ = container.kill()
    failed = container.wait_for_event("failed", after)
    assert failed["severity"] == "error"
    status = container.inspect()
    assert status["phase"] == "failed"
    assert status["phase_reason"]
    assert container.pids() == []
    # The operator brings it back with its memory, or afresh.
    node.ask("restore", "--yes", "failing")
    container.wait_until_protected()
    assert node.client().lines(ipv4(spec), PORT).ask("get") == "0"




def test_cold_start_when_no_generation_is_left(node, remove_after):
    remove_after.append("cold")
    spec = make_spec("cold", "counter.py", checkpoint={"interval": "1h"}, restart={"probation": "1h"})
    container = node.run(spec)
    client = node.client()
    life = client.lines(ipv4(spec), PORT).ask("pid")
    # Every death within the probation speaks against the generation it came from.
    for _ in range(20):
        after, _ = container.kill()
        event = container.wait_for_event(lambda e: e["kind"] in ("restored", "cold_start"), after)
        if event["kind"] == "cold_start":
            break
    assert event["kind"] == "cold_start"
    container.wait_for_event("started", event["sequence"])
    container.wait_until_protected()
    assert client.lines(ipv4(spec), PORT).ask("pid") != life
    assert container.inspect()["last_restore"]["generation"] is None


def test_no_cold_start_where_the_specification_forbids_it(node, remove_after):
    remove_after.append("never")
    spec = make_spec("never", "counter.py", checkpoint={"interval": "1h"},
                     restart={"probation": "1h", "cold-start": "never"})
    container = node.run(spec)
    for _ in range(20):
        after, _ = container.kill()
        event = container.wait_for_event(lambda e: e["kind"] in ("restored", "failed"), after)
        if event["kind"] == "failed":
            break
    assert event["kind"] == "failed"
    assert container.inspect()["phase"] == "failed"
    node.ask("start", "--yes", "never")
    assert node.client().lines(ipv4(spec), PORT).ask("get") == "0"


def test_a_program_that_never_starts_does_not_start_for_ever(node, remove_after):
    remove_after.append("broken")
    spec = make_spec("broken", "counter.py", restart={"max-restores": 3})
    spec["command"] = ["/bin/sh", "-c", "exit 7"]
    result = node.try_cli("run", "--yes", node.write_spec(spec))
    assert result.returncode != 0
    container = node.container("broken")
    container.wait_until(lambda s: s["phase"] == "failed", "was not given up")
    assert container.inspect()["exit_status"] == 7


def test_memory_limit_kills_and_the_container_comes_back(node, remove_after):
    remove_after.append("limited")
    spec = make_spec("limited", "counter.py", 4, resources={"memory": "128MiB", "pids": 64, "cpu": 1.5})
    container = node.run(spec)
    lines = node.client().lines(ipv4(spec), PORT)
    number = lines.ask("incr")
    container.checkpoint()
    container.kill_and_wait()
    assert node.client().lines(ipv4(spec), PORT).ask("get") == number
