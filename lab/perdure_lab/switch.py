"""The LAN: a bridge in the network namespace of the keeper, which nobody else is in. One port per node and client.

Cuts lose frames silently and leave the carrier up, as a dead path behind a switch does: rules of an nft table of family
bridge, by the names of the ports, so that they stay in force when a node is killed and comes again. A cut may be of one
service only, by its ports of TCP and UDP. Where the kernel lacks that table, a node can still be cut from everything: its
port leaves the bridge, which the node does not see.
"""

import subprocess

BRIDGE = "lan"
EVERYBODY, CLIENTS, NODES = "all", "clients", "nodes"  # instead of a port's name; also those that come later
EVERYTHING = ""
# What a cut may be limited to (node/cluster/cluster_identity.h): {protocol: ports}.
SERVICES = {
    EVERYTHING: {},
    "etcd": {"tcp": (7401, 7402)},                  # of its clients and between its members
    "heartbeats": {"udp": (7400,)},
    "perdured": {"tcp": (7400,), "udp": (7400,)},   # all that perdured says to another perdured
}
_PATTERNS = {EVERYBODY: "*", CLIENTS: "client*", NODES: "node*"}
_TABLE = "lab"


class CutImpossible(Exception):
    pass


def run(*arguments, text=None):
    result = subprocess.run(arguments, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {result.stdout.strip()}")


def run_ip(lines, pid=None):
    """A batch of ip(8), in the network namespace of `pid`."""
    enter = ["nsenter", "-t", str(pid), "-n"] if pid else []
    run(*enter, "ip", "-batch", "-", text="\n".join(lines) + "\n")


class Switch:
    def __init__(self):
        self.ports = set()
        self.cuts = set()  # (from, to, service): names of ports, or one of _PATTERNS
        for which in ("all", "default"):  # it forwards, and has nothing to say itself
            with open(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6", "w") as file:
                file.write("1")
        run_ip([f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0", f"link set {BRIDGE} up"])
        try:
            self._load_rules()
            self.reason = None
        except RuntimeError as error:
            self.reason = str(error)

    def plug(self, port, pid, mac=None):
        """A link from the port to eth0 in the network namespace of the process."""
        address = f"address {mac} " if mac else ""
        run_ip([f"link add {port} type veth peer name eth0 {address}netns {pid}", self._membership(port),
                f"link set {port} up"])
        self.ports.add(port)

    def unplug(self, port):
        """Both ends of the link are gone, also when somebody still holds the namespace of the other."""
        if port not in self.ports:
            return
        self.ports.discard(port)
        try:
            run_ip([f"link delete {port}"])
        except RuntimeError:
            pass  # with the namespace of its other end

    def silence(self, port):
        """Nothing passes any more, while the carrier stays up: the port is no part of the bridge."""
        run_ip([f"link set {port} nomaster"])

    def cut(self, sender, receiver, both_ways, service=EVERYTHING):
        self._change(self.cuts | {(sender, receiver, service)} | ({(receiver, sender, service)} if both_ways else set()))

    def heal(self, one=None, other=None):
        """All cuts; those that `one` has to do with; those between the two."""
        def stays(cut):
            ends = set(cut[:2])
            return one is not None and (one not in ends or (other is not None and ends != {one, other}))
        self._change({cut for cut in self.cuts if stays(cut)})

    def _change(self, cuts):
        before, self.cuts = self.cuts, cuts
        try:
            if self.reason is None:
                self._load_rules()
            else:
                self._check_possible()
                run_ip([self._membership(port) for port in sorted(self.ports)])
        except Exception:
            self.cuts = before
            raise

    def _load_rules(self):
        rules = "\n".join(f"    {rule}" for cut in sorted(self.cuts) for rule in _rules(*cut))
        # One transaction.
        run("nft", "-f", "-", text=f"""
table bridge {_TABLE} {{}}
delete table bridge {_TABLE}
table bridge {_TABLE} {{
  chain forward {{
    type filter hook forward priority 0; policy accept;
{rules}
  }}
}}
""")

    # ---- Without nft ----

    def _isolated(self):
        return {a for a, b, service in self.cuts
                if b == EVERYBODY and service == EVERYTHING and (b, a, EVERYTHING) in self.cuts}

    def _membership(self, port):
        is_out = self.reason is not None and port in self._isolated()
        return f"link set {port} nomaster" if is_out else f"link set {port} master {BRIDGE}"

    def _check_possible(self):
        isolated = self._isolated()
        if any(not isolated & {a, b} or service for a, b, service in self.cuts):
            raise CutImpossible(f"this kernel has no nft table of family bridge ({self.reason}): "
                                "only a node can be cut from everything, both ways")


def _rules(sender, receiver, service):
    """What drops the frames of a cut."""
    ends = [f'{word} "{_PATTERNS.get(name, name)}"' for word, name in (("iifname", sender), ("oifname", receiver))
            if name != EVERYBODY]
    if service == EVERYTHING:
        return [" ".join([*ends, "drop"])]
    return [" ".join([*ends, f"{protocol} {side} {{ {', '.join(map(str, ports))} }}", "drop"])
            for protocol, ports in SERVICES[service].items() for side in ("sport", "dport")]
