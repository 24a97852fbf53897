"""A container that does nothing but start other programs, checkpointed as often as it goes, and killed again and again:
children that are about to execute a program are in their parent's memory, and come and go while a checkpoint is taken.
Nothing of it may end otherwise than it would have by itself."""

from specs import make_spec
from support.node import until

COMMAND = "while :; do /bin/sh -c 'exit 7'; s=$?; [ $s = 7 ] || echo ended with $s; done"
RESTORES = 30
CHECKPOINTS = 12  # of each life: what was wrong in one is in the memory of the next


def test_a_shell_that_starts_shells(node, remove_after):
    remove_after.append("starter")
    spec = make_spec("starter", "counter.py", 40, checkpoint={"interval": "30ms", "cpu-budget": "100%"},
                     restart={"max-restores": 100, "window": "5s"})
    spec["command"] = ["/bin/sh", "-c", COMMAND]
    container = node.run(spec)
    for _ in range(RESTORES):
        captures = container.inspect()["captures"]
        until(lambda: container.inspect()["captures"] > captures + CHECKPOINTS, "there are no checkpoints")
        container.kill_and_wait()
    assert "ended with" not in container.logs()
    events = container.events()
    assert not [e for e in events if "CRIU did not answer" in (e["reason"] or "")]
    lived_on = [e for e in events if e["kind"] == "process_killed"]
    assert not lived_on, f"init lived on: {[(e['sequence'], e['text'], e['reason']) for e in lived_on]}; all: {[(e['sequence'], e['kind']) for e in events]}"
