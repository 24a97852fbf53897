"""An etcd that is there already instead of perdured's own; the key of stored capsules, which is replaced by itself; and images, which go."""

import os
import signal
import subprocess
import time

import pytest
from cluster_tools import in_no_cluster, init, join, refusal, states, status, token, wait_for_standby
from lab_specs import PORT, address, lab_spec
from support.node import CommandFailed, until

EXTENSIONS = """[server]
subjectAltName=IP:{ip}
extendedKeyUsage=serverAuth,clientAuth
[client]
extendedKeyUsage=clientAuth
"""


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def make_certificates(directory, ip):
    """ca.pem; server.pem and client.pem with their keys (.key)."""
    with open(f"{directory}/extensions", "w") as file:
        file.write(EXTENSIONS.format(ip=ip))
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(directory, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=their etcd", "-days", "2")
    for name in ("server", "client"):
        openssl(directory, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.pem", "-days", "2", "-extfile", "extensions", "-extensions", name)


class OtherEtcd:
    """One that somebody else runs, on a host of the LAN that is no node."""

    def __init__(self, lab, directory):
        client = lab.client()
        ip = client.addresses[0]
        make_certificates(directory, ip)
        self.directory = directory
        self.url = f"https://{ip}:2379"
        self.log = open(f"{directory}/log", "w")
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/proc/{client.pid}/ns/net", "etcd", f"--data-dir={directory}/data", "--name=theirs",
             f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}", "--client-cert-auth",
             f"--trusted-ca-file={directory}/ca.pem", f"--cert-file={directory}/server.pem", f"--key-file={directory}/server.key",
             "--listen-peer-urls=http://127.0.0.1:2380"],
            stdout=self.log, stderr=subprocess.STDOUT, preexec_fn=lab.enter_clients_cgroup)

    def files(self):
        return ("--etcd-ca", f"{self.directory}/ca.pem", "--etcd-cert", f"{self.directory}/client.pem", "--etcd-key",
                f"{self.directory}/client.key")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


@pytest.fixture
def theirs(make_lab, tmp_path):
    lab = make_lab(nodes=3)
    etcd = OtherEtcd(lab, str(tmp_path))
    yield lab, etcd
    etcd.end()


def test_nodes_share_an_etcd_that_is_there_already(theirs):
    lab, etcd = theirs
    one, two, three = (lab.nodes[number] for number in (1, 2, 3))
    init(one, "--etcd", etcd.url, *etcd.files())
    refused = refusal(join, two, one, token(one))
    assert "--etcd-ca" in refused and "etcd of its own" in refused, refused
    assert states(one) == {"node1": "ready"}, "nothing is left of the try"
    for node in (two, three):
        join(node, one, token(one), *etcd.files())
    until(lambda: states(three) == dict.fromkeys(("node1", "node2", "node3"), "ready"), "not all are ready")
    assert status(two)["external_etcd"] and not any(os.path.exists(f"{node.state}/etcd") for node in lab.nodes.values())

    container = one.run(lab_spec("web", 50))
    wait_for_standby(container, "node2")
    lines = lab.client().lines(address(50), PORT)
    number = int(lines.ask("incr"))
    three.ask("move", "web", "node2")
    assert int(lines.ask("incr")) == number + 1
    two.kill_daemon(signal.SIGTERM)
    two.start_daemon()
    until(lambda: states(one).get("node2") == "ready", "node2 does not come back")
    assert int(lines.ask("incr")) == number + 2
    two.container("web").remove()
    three.ask("cluster", "leave", "--yes")
    until(lambda: set(states(one)) == {"node1", "node2"}, "node3 has not left")


def test_an_etcd_that_holds_another_cluster_is_refused_and_nothing_is_left_of_the_try(theirs):
    lab, etcd = theirs
    one, two = lab.nodes[1], lab.nodes[2]
    init(one, "--etcd", etcd.url, *etcd.files())
    shared = os.path.join(two.state, "shared")
    os.mkdir(shared)
    running = two.run(lab_spec("web", 50))
    refused = refusal(init, two, "--etcd", etcd.url, *etcd.files(), "--durable-directory", shared)
    assert "holds another cluster" in refused and "join that one" in refused, refused
    assert in_no_cluster(two) and states(one) == {"node1": "ready"}
    until(lambda: os.listdir(shared) == [], "the directory is marked still")
    running.wait_until_protected()
    join(two, one, token(one), *etcd.files())
    running.wait_until_protected()


def test_a_container_says_how_many_stand_by(make_lab):
    lab = make_lab(nodes=3, cluster=True)
    one = lab.nodes[1]
    many = one.run(lab_spec("many", 50, checkpoint={"interval": "200ms", "standbys": 2}))
    none = one.run(lab_spec("none", 51, checkpoint={"interval": "200ms", "standbys": 0}))
    for node in ("node2", "node3"):
        wait_for_standby(many, node)
    none.wait_for_newer_generation(none.inspect()["newest_committed"]["generation"])
    shown = none.inspect()
    assert (shown["standbys"], shown["standbys_wanted"], shown["protection"]["state"]) == ([], 0, "protected"), shown
    assert many.inspect()["standbys_wanted"] == 2


def test_a_full_disk_is_told_at_once_where_no_standby_holds_anything(make_lab):
    lab = make_lab(nodes=1)
    one = lab.nodes[1]
    init(one, "--standbys", "0")
    capsules = os.path.join(one.state, "capsules")
    one.execute("mkdir", "-p", capsules)
    one.execute("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", capsules)
    container = one.run(lab_spec("web", 50, checkpoint={"interval": "24h"}))
    lines = lab.client().lines(address(50), PORT)
    container.checkpoint()
    one.execute("dd", "if=/dev/zero", f"of={capsules}/ballast", "bs=64k", check=False)
    lines.ask("touch 8")
    with pytest.raises(CommandFailed, match="space"):
        one.ask("checkpoint", "web", timeout=60)
    one.execute("rm", f"{capsules}/ballast")
    container.wait_until_protected()
    container.checkpoint()


def test_the_key_of_stored_capsules_is_replaced_and_the_old_ones_read_on(make_lab):
    lab = make_lab(nodes=2, cluster=True, options=["--key-life", "2s"])
    one, two = lab.nodes[1], lab.nodes[2]
    container = one.run(lab_spec("web", 50, checkpoint={"interval": "1h"}))
    lines = lab.client().lines(address(50), PORT)
    number = int(lines.ask("incr"))
    first = container.checkpoint()["generation"]["generation"]
    lines.ask("incr")
    key = status(one)["key_id"]
    for node in (one, two):
        until(lambda node=node: status(node)["key_id"] >= key + 2, f"{node.name} has not got a newer key")
    assert [event for event in one.events.of() + two.events.of() if event["kind"] == "keys_rotated"]
    # Its memory is gone: what is gone back to is read from the disk. Ended like this, nobody takes it over meanwhile.
    assert one.kill_daemon(signal.SIGTERM) == 0
    one.start_daemon()
    container.wait_until(lambda shown: "who owns it" not in (shown["phase_reason"] or ""), "its record is not read")
    one.ask("restore", "web", "--generation", first, "--yes")
    assert int(lab.client().lines(address(50), PORT).ask("get")) == number


def test_root_file_systems_go_when_no_container_needs_them(make_lab):
    lab = make_lab(nodes=2, cluster=True, options=["--image-life", "1s"])
    one, two = lab.nodes[1], lab.nodes[2]

    def images(node):
        return [name for name in os.listdir(f"{node.state}/images") if len(name) == 64]
    container = one.run(lab_spec("web", 50))
    wait_for_standby(container, "node2")
    assert len(images(two)) == 1, "fetched"
    time.sleep(3)  # several lives: nothing tells of what is not removed
    assert len(images(two)) == 1
    one.ask("move", "web", "node2")  # it is what it runs on
    moved = two.container("web")
    wait_for_standby(moved, "node1")
    moved.remove()
    for node in (one, two):
        until(lambda node=node: images(node) == [], f"{node.name} keeps the image of a container that is gone")
