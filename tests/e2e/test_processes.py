"""What processes hold comes back working: trees, threads, descriptors of all kinds, timers of all kinds."""

import pytest
from specs import PORT, ipv4, make_spec
from support.node import until


def test_descriptors_files_and_signals(node, remove_after):
    remove_after.append("features")
    spec = make_spec("features", "features.py")
    container = node.run(spec)
    client = node.client()
    broken = lambda: {name: state for name, state in client.lines(ipv4(spec), PORT).ask_json("check").items()
                      if state != "ok"}
    assert broken() == {}
    for _ in range(3):
        container.checkpoint()
        container.kill_and_wait()
        assert broken() == {}


def test_process_tree_with_threads(node, remove_after):
    remove_after.append("tree")
    spec = make_spec("tree", "tree.py", 20)
    container = node.run(spec)
    client = node.client()
    before = client.lines(ipv4(spec), PORT).ask_json("check")
    assert len(before) == 19
    container.checkpoint()
    container.kill_and_wait()
    after = client.lines(ipv4(spec), PORT).ask_json("check")
    assert [process["pid"] for process in after] == [process["pid"] for process in before]
    assert all(process["intact"] for process in after)
    assert all(now["asked"] == then["asked"] + 1 for now, then in zip(after, before))
    again = lambda: all(now["beats"] > then["beats"] for now, then in
                        zip(client.lines(ipv4(spec), PORT).ask_json("check"), after))
    until(again, "a thread does not run any more")


@pytest.mark.parametrize("after", ["checkpoints", "restores"])
def test_timers_of_every_kind_go_on(node, remove_after, after):
    remove_after.append("timers")
    spec = make_spec("timers", "timers.py", checkpoint={"interval": "100ms"})
    container = node.run(spec)
    client = node.client()
    counts = lambda: client.lines(ipv4(spec), PORT).ask_json("counts")

    def all_tick():
        start = counts()
        silent = set(start)

        def look():
            now = counts()
            silent.difference_update(kind for kind in start if now[kind] >= start[kind] + 2)
            return not silent
        try:
            until(look, "a timer has stopped", 30, 0.05)
        except TimeoutError:
            pytest.fail(f"stopped: {sorted(silent)}")

    all_tick()
    # A timer that expires while the container is frozen is the dangerous one: many tries.
    for _ in range(6):
        container.checkpoint()
        if after == "restores":
            container.kill_and_wait()
        all_tick()


def test_a_millisecond_ticker_is_heard_again(node, remove_after):
    remove_after.append("ticker")
    client = node.client()
    spec = make_spec("ticker", "ticker.py", "0", "0", 16)
    ticker = client.ticker(ipv4(spec))
    spec["command"][3:5] = [ticker.address, str(ticker.port)]
    container = node.run(spec)
    ticker.wait_for(lambda arrivals: len(arrivals) > 100, "nothing was sent")
    for _ in range(5):
        container.checkpoint()
        container.kill_and_wait()
        heard = ticker.count()
        ticker.wait_for(lambda arrivals: len(arrivals) > heard + 1000, "it fell silent after a restore")
    ticker.close()


@pytest.mark.node_options("--no-memory-tracking")
def test_without_memory_tracking_the_same_state_comes_back(own_node):
    spec = make_spec("plain", "counter.py", 8)
    container = own_node.run(spec)
    client = own_node.client()
    number = client.lines(ipv4(spec), PORT).ask("incr")
    container.checkpoint()
    container.kill_and_wait()
    assert client.lines(ipv4(spec), PORT).ask("get") == number
