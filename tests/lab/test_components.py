"""A container of components in a cluster: its agent is heard wherever it goes, and no standby ever gets a state that has not proved
healthy, so that a takeover in the midst of a failure goes back behind it."""

from cluster_tools import wait_until_etcd_survives_one
from lab_specs import address, lab_spec
from moving import inspect, run, wait_until_stood_by
from support.components import Components
from support.node import stop_process, until

DB, WEB = 5001, 5002
TAKES = 60.0


def spec_of(name, number, patience):
    """`patience`: failures in a row until its agent gives the component up."""
    spec = lab_spec(name, number)
    del spec["command"]
    program = ["/usr/bin/python3", "-u", "/app/component.py"]
    spec["components"] = [
        {"name": "db", "command": [*program, str(DB)],
         "probe": {"http": DB, "interval": "100ms", "timeout": "200ms", "failures": patience}},
        {"name": "web", "command": [*program, str(WEB)], "state": "stateless", "depends-on": [{"component": "db"}]}]
    return spec


class Shop(Components):
    def __init__(self, cluster, name, number, patience=3):
        super().__init__(cluster.client(), address(number))
        self.cluster, self.name = cluster, name
        wait_until_etcd_survives_one(list(cluster.nodes.values()))
        run(cluster, 1, spec_of(name, number, patience))
        self.owner = cluster.nodes[1]
        wait_until_stood_by(cluster, name)

    def status(self):
        return inspect(self.cluster, self.name, self.owner)

    def wait_for(self, db, web):
        states = lambda: {row["name"]: row["state"] for row in self.status()["components"]}
        until(lambda: states() == {"db": db, "web": web}, f"its components are not {db} and {web}", TAKES)

    def is_mended_by_its_agent(self):
        life = self.ask(WEB, "pid")
        after = self.owner.events.last_sequence()
        self.tell(WEB, "exit 3")
        self.owner.events.wait("component_restarted", self.name, after=after, deadline=TAKES)
        assert self.answers(WEB) != life


def test_its_agent_is_heard_wherever_it_goes(cluster):
    shop = Shop(cluster, "shop", 90)
    shop.wait_for("running", "running")
    life = shop.ask(DB, "pid")
    for target in (2, 3):
        shop.owner.ask("move", "shop", f"node{target}")
        shop.owner = cluster.nodes[target]
        shop.wait_for("running", "running")
        shop.is_mended_by_its_agent()
    wait_until_stood_by(cluster, "shop")
    shop.owner.kill()
    owner = lambda: next((node for node in cluster.nodes.values() if node is not shop.owner and
                          node.try_cli("inspect", "shop").returncode == 0 and node.ask("inspect", "shop")["container"]["node"] == node.name
                          and node.ask("inspect", "shop")["container"]["phase"] == "running"), None)
    taker = until(owner, "nobody takes it over", TAKES)
    shop.owner.boot()
    shop.owner = taker
    assert shop.answers(DB) == life
    shop.wait_for("running", "running")
    shop.is_mended_by_its_agent()
    shop.owner.cli("rm", "--force", "--yes", "shop")


def test_what_an_agent_that_stands_still_looks_after_is_not_moved(cluster):
    """It would stand still at the target too, where there is nothing to go back to."""
    shop = Shop(cluster, "shop", 92)
    shop.wait_for("running", "running")
    life = shop.ask(DB, "pid")
    after = shop.owner.events.last_sequence()
    stop_process(shop.owner.host_pid(shop.status()["init_pid"]))
    until(lambda: shop.status()["components_age_ns"] > 4e9, "its agent is heard", TAKES)
    refused = shop.owner.try_cli("move", "shop", "node2")
    assert refused.returncode and "its agent has not reported for" in " ".join(refused.stderr.split()), refused
    shop.owner.events.wait("agent_silent", "shop", after=after, deadline=TAKES)
    shop.owner.events.wait("restored", "shop", after=after, deadline=TAKES)
    shop.wait_for("running", "running")
    shop.owner.ask("move", "shop", "node2")
    shop.owner = cluster.nodes[2]
    shop.wait_for("running", "running")
    assert shop.answers(DB) == life
    shop.owner.cli("rm", "--force", "--yes", "shop")


def test_what_stands_still_is_never_what_a_standby_goes_on_with(cluster):
    """The component halts, its agent is patient, and captures go on; then the host dies."""
    shop = Shop(cluster, "shop", 91, patience=100)
    shop.wait_for("running", "running")
    life = shop.ask(DB, "pid")
    shop.ask(DB, "incr")
    shop.owner.ask("checkpoint", "shop")
    shop.tell(DB, "halt")
    shop.owner.events.wait("component_failing", "shop", deadline=TAKES)
    waiting = lambda: [row for row in shop.owner.ask("generations", "shop")["generations"] if not row["committed"]]
    until(lambda: len(waiting()) == 2, "what is captured now does not wait for its probe", TAKES)
    shop.owner.kill()
    assert shop.answers(DB) == life, "it goes on as it was before it halted"
    assert shop.ask(DB, "get") == "1"
    shop.owner.boot()
    owner = next(node for node in cluster.nodes.values() if node is not shop.owner)
    shop.owner = cluster.nodes[int(owner.ask("inspect", "shop")["container"]["node"].removeprefix("node"))]
    shop.wait_for("running", "running")
    shop.owner.cli("rm", "--force", "--yes", "shop")
