"""The verbs of `perdure lab`."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from . import cgroups, remains
from .cluster import NoCluster, form_cluster
from .faults import daemon, disk, etcd, network, pick, power, show_cuts, watch
from .host import CommandFailed
from .lab import Lab, finish
from .machine import PATH
from .output import Step, age, ending, say, table
from .programs import Programs, ProgramsMissing
from .remains import LabError
from .switch import EVERYTHING, SERVICES

DEFAULT_NAME = "lab"
STATE_WORDS = {"down": "off", "dying": "off"}
SMALLEST_DISK = 256 << 20  # etcd sets aside 128 MiB for its log
_SHIFTS = {"K": 10, "M": 20, "G": 30, "T": 40}
ANSWER_TIME = 5.0  # seconds that `status` gives each perdured

EPILOG = """\
A node is a host made of namespaces: its own processes, /run, network and disk
(a directory), with a perdured as on a real host. Nodes and clients hang on a
LAN of their own: node N is 10.78.0.N and fd78::N, on its bridge br0; give
containers 10.78.0.50 to .199; clients are 10.78.0.200 and up.

'perdure lab VERB --help' explains a verb. docs/lab.md shows a session.
"""


# ---- What is given ----

def a_node(text):
    match = re.fullmatch(r"(?:node)?(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no node: give its number")
    return int(match.group(1))


def a_port(text):
    """A node by its number or name, a client, or some of them by a word."""
    if re.fullmatch(r"client\d+|all|clients|nodes", text):
        return text
    return a_node(text)


def some_nodes(text):
    return None if text == "all" else [a_node(part) for part in text.split(",")]


def a_boottime(text):
    match = re.fullmatch(r"(?:node)?(\d+)=([+-]?\d+)([smhd]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not NODE=OFFSET, such as 2=1h or 3=-90s")
    unit = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(3)]
    return int(match.group(1)), int(match.group(2)) * unit


def a_size(text):
    match = re.fullmatch(r"(\d+)([KMGT])", text)
    if not match or int(match.group(1)) << _SHIFTS[match.group(2)] < SMALLEST_DISK:
        raise argparse.ArgumentTypeError(f"'{text}' is no size of a disk, such as 2G (at least {SMALLEST_DISK >> 20}M)")
    return int(match.group(1)) << _SHIFTS[match.group(2)]


# ---- Verbs ----

def up(options):
    if options.timing and options.no_cluster:
        raise LabError("--timing is of a cluster, and --no-cluster makes none", "leave out one of them")
    programs = Programs.find(options.build, options.perdure)
    lab = Lab(options.nodes, options.name, options.state, options=options.perdured_option,
              boottime=dict(options.boottime), witness=options.witness, programs=programs, disk_size=options.disk_size)
    lab.for_people = True
    begin = time.monotonic()
    step = Step(f"lab '{lab.name}': a LAN for {lab.wanted_nodes} nodes")
    lab.start()
    try:
        step.done()
        boot_all(lab)
        if not options.no_cluster:
            make_cluster(lab, ["--timing", options.timing] if options.timing else [])
        lab.keep()
    except BaseException as failure:
        logs = [f"{node.name}: {node.daemon_log().strip().splitlines()[-1]}" for node in lab.nodes.values()
                if node.daemon_log().strip()]
        lab.down()
        if isinstance(failure, (CommandFailed, TimeoutError)):
            raise LabError(f"{failure}\n  last words of perdured:\n    " + "\n    ".join(logs),
                           "the lab is removed again") from None
        raise
    command = "perdure lab" if lab.name == DEFAULT_NAME else f"perdure lab --name {lab.name}"
    say(f"Up after {time.monotonic() - begin:.1f} s; disks are in {lab.disks}")
    say(f"  {command} shell 1    a shell on node 1")
    say(f"  {command} down       removes everything")
    return 0


def boot_all(lab):
    for node in lab.nodes.values():
        step = Step(f"{node.name} boots")
        node.boot()
        step.done()


def make_cluster(lab, init):
    step = Step("the nodes become a cluster")
    try:
        form_cluster(lab, init=init)
        step.done()
    except NoCluster as reason:
        step.done("no")
        say(f"  This perdured has no clusters ({reason}).")
        say("  Its nodes stand alone; --no-cluster leaves this attempt out.")


def down(options):
    names = remains.names() if options.all else [options.name]
    for name in names:
        known = remains.Description.load(remains.check_name(name))
        disks_left = "Nothing of it is left."
        if known and not known.disks_are_ours and not options.purge:
            disks_left = f"Its disks stay in {known.disks}; --purge would have removed them."
        try:
            Lab.attach(name).down(options.purge)
            there_was = True
        except LabError:
            there_was = finish(name, options.purge)  # dead, or on its way down
        if not there_was:
            raise LabError(f"there is no lab '{name}'", "'perdure lab status --all' lists them" if names else "")
        say(f"Lab '{name}' is down. {disks_left}")
    return 0


# ---- Status ----

def status(options):
    names = remains.names() if options.all else [options.name]
    found = [describe(name) for name in names]
    if options.json:
        print(json.dumps({"labs": found} if options.all else found[0]))
        return 0
    if not found:
        say("There is no lab; 'perdure lab up' starts one.")
    for index, one in enumerate(found):
        if index:
            say()
        show_lab(one)
    return 0


def describe(name):
    try:
        lab = Lab.attach(name)
    except LabError:
        if name not in remains.names():
            raise
        return {"name": name, "state": "dead"}
    found = lab.connection.ask("describe")
    for entry in found["nodes"]:
        entry["address"] = lab.nodes[entry["number"]].address
        entry["containers"] = containers_of(lab.nodes[entry["number"]], entry)
    del found["libexec"]
    found["cuts"] = [list(cut) for cut in lab.cuts()]
    return {"state": "up", **found}


def containers_of(node, entry):
    """Names; None if nobody answers."""
    if entry["state"] != "up" or entry["daemon"]["state"] != "ready":
        return None
    try:
        return [one["name"] for one in json.loads(node.cli("list", "--json", timeout=ANSWER_TIME))["containers"]]
    except (CommandFailed, TimeoutError, ValueError, KeyError):
        return None


def show_lab(lab):
    if lab["state"] == "dead":
        say(f"Lab '{lab['name']}' is dead: its keeper was killed. 'down' or 'up' removes what it left.")
        return
    say(f"Lab '{lab['name']}', up {age(lab['age_s'])}")
    say(f"disks in {lab['disks']}" + ("" if lab["disks_are_ours"] else ", which 'down' keeps"))
    rows = [("NODE", "HOST", "ADDRESS", "PERDURED", "CONTAINERS", "BOOT CLOCK")]
    for node in lab["nodes"]:
        one = node["daemon"]
        words = {"none": "-", "starting": "starting", "ready": "ready"}
        perdured = words.get(one["state"]) or ending(one["status"])
        containers = "-" if node["containers"] is None else ", ".join(node["containers"]) or "none"
        clock = "" if node["boottime"] is None else f"{node['boottime']:+d} s"
        rows.append((node["name"], STATE_WORDS.get(node["state"], node["state"]), node["address"], perdured,
                     containers, clock))
    table(rows)
    if lab["clients"]:
        say("clients: " + ", ".join(lab["clients"]))
    if lab["cuts"]:
        show_cuts([tuple(cut) for cut in lab["cuts"]])


# ---- Commands inside ----

def environment(lab, where):
    return dict(os.environ, PATH=f"{os.path.dirname(lab.perdure)}:{PATH}", PERDURE_LAB=lab.name, PERDURE_LAB_AT=where)


def on_node(node, command, **options):
    """Runs in the directory that the caller is in, where the node has it too."""
    argv = node.argv(command)
    argv[1:1] = ["--wdns=" + (os.getcwd() if not os.getcwd().startswith("/run") else "/")]
    return subprocess.call(argv, env=environment(node.lab, node.name),
                           preexec_fn=lambda: (restore_signals(), cgroups.enter(node.commands_cgroup)), **options)


def restore_signals():
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def leave_signals_to_child():
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def a_shell():
    return [shutil.which("bash") or "/bin/sh"]


def shell(options):
    lab = Lab.attach(options.name)
    leave_signals_to_child()
    return exit_code(on_node(pick(lab, options.node), options.command or a_shell()))


def execute(options):
    lab = Lab.attach(options.name)
    if not options.command:
        raise LabError("exec needs a command", "'perdure lab shell N' is a shell")
    nodes = sorted(lab.nodes) if options.nodes is None else options.nodes
    leave_signals_to_child()
    worst = 0
    for number in nodes:
        node = pick(lab, number)
        if len(nodes) > 1:
            say(f"{node.name}:")
        if node.describe()["state"] != "up":
            say(f"  is {STATE_WORDS.get(node.describe()['state'], node.describe()['state'])}")
            worst = max(worst, 1)
            continue
        worst = max(worst, exit_code(on_node(node, options.command, stdin=subprocess.DEVNULL if len(nodes) > 1 else None)))
    return worst


def client(options):
    lab = Lab.attach(options.name)
    made = lab.client()
    if not options.command:
        print(f"A client at {made.addresses[0]} and {made.addresses[1]}, called {made.interface} by 'cut'; "
              "it ends with this shell.", file=sys.stderr, flush=True)
    leave_signals_to_child()
    return exit_code(subprocess.call(
        ["nsenter", "-t", str(made.pid), "-n", "--", *(options.command or a_shell())],
        env=environment(lab, made.interface), preexec_fn=lambda: (restore_signals(), lab.enter_clients_cgroup())))


def exit_code(code):
    return 128 - code if code < 0 else code


# ---- The command line ----

def make_parser():
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("--name", metavar="LAB", default=argparse.SUPPRESS, help=f"one of several labs (default: {DEFAULT_NAME})")
    parser = argparse.ArgumentParser(prog="perdure lab", description="Several nodes on this machine, and their failures.",
                                     epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[name])
    parser.add_argument("--perdure", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(word, function, text, description=None):
        one = verbs.add_parser(word, help=text, description=description or text[0].upper() + text[1:] + ".", parents=[name])
        one.set_defaults(function=function)
        return one

    one = verb("up", up, "start a lab")
    one.add_argument("--nodes", type=int, default=3, metavar="N", help="how many (default: 3)")
    one.add_argument("--witness", action="store_true", help="one more node, the last, that only votes: it runs no containers")
    one.add_argument("--state", metavar="DIR", help="the nodes' disks are directories here, and stay when the lab is down; "
                     f"default: {remains.STATE}/LAB, which 'down' removes")
    one.add_argument("--disk-size", type=a_size, metavar="SIZE", help="each node's disk is a file system of this size, such as 2G, "
                     "which can be full; only the node sees it")
    one.add_argument("--no-cluster", action="store_true", help="the nodes stand alone")
    one.add_argument("--timing", metavar="TIMING", help="how fast the cluster notices a dead node: default, fast, or "
                     "HEARTBEAT,GRANT,MARGIN such as 100ms,500ms,50ms (as of perdure cluster init)")
    one.add_argument("--boottime", type=a_boottime, action="append", default=[], metavar="NODE=OFFSET",
                     help="the boot clock of this node is so far from the host's: 2=1h, 3=-90s; may be repeated")
    one.add_argument("--perdured-option", action="append", default=[], metavar="OPTION",
                     help="a further argument of every perdured: --perdured-option=--log-level=debug; may be repeated")
    one.add_argument("--build", metavar="DIR", help="use the programs of this build directory")

    one = verb("down", down, "end a lab and remove everything of it",
               "Kills all nodes and clients and removes everything of the lab, its disks too unless --state named them. "
               "Also for a lab whose keeper has been killed.")
    one.add_argument("--purge", action="store_true", help="also remove what the nodes wrote into the directory of --state")
    one.add_argument("--all", action="store_true", help="every lab of this machine")

    one = verb("status", status, "show the nodes, their perdured, and what is cut")
    one.add_argument("--json", action="store_true", help="print one JSON object")
    one.add_argument("--all", action="store_true", help="every lab of this machine")

    one = verb("kill", power, "a node loses its power, or several at once: it sends nothing more, no FIN either; its memory is gone")
    one.add_argument("nodes", type=a_node, nargs="+", metavar="N")
    for word, text in (("boot", "a killed node starts again, with its disk and with empty memory and /run"),
                       ("pause", "a node stands still as a whole, its clocks go on"),
                       ("resume", "a paused node goes on")):
        verb(word, power, text).add_argument("node", type=a_node, metavar="N")

    one = verb("cut", network, "silent loss on the LAN",
               "What A and B send each other is lost, while the links stay up; without B, what A and everybody send each "
               "other. A and B are nodes by their numbers, clients by their names (client200), or 'all', 'nodes', 'clients'. "
               "Cuts stay in force when a node is killed and boots.")
    one.add_argument("a", type=a_port, metavar="A")
    one.add_argument("b", type=a_port, nargs="?", metavar="B")
    one.add_argument("--one-way", action="store_true", help="only what A sends is lost; 'cut all 1 --one-way': node 1 is deaf")
    one.add_argument("--only", choices=[name for name in SERVICES if name], default=EVERYTHING,
                     help="only this is lost: etcd (its clients' and members' TCP), heartbeats (UDP), perdured (all between perdureds)")
    one = verb("heal", network, "end cuts: all, those of A, or those between A and B")
    one.add_argument("a", type=a_port, nargs="?", metavar="A")
    one.add_argument("b", type=a_port, nargs="?", metavar="B")
    one.set_defaults(one_way=False)

    one = verb("shell", shell, "a shell, or a command, on a node")
    one.add_argument("node", type=a_node, metavar="N")
    one.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND...")
    one = verb("exec", execute, "a command on one node, on several (1,3) or on all, one after the other",
               "Runs a command on one node, on several (1,3) or on all, one after the other. The exit code is the highest.")
    one.add_argument("nodes", type=some_nodes, metavar="NODES")
    one.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND...")
    one = verb("client", client, "a shell, or a command, in a new client on the LAN")
    one.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND...")
    one = verb("daemon", daemon, "stop, start, kill, pause or resume perdured alone; its containers run on")
    one.add_argument("node", type=a_node, metavar="N")
    one.add_argument("action", choices=["stop", "start", "kill", "pause", "resume"])
    one = verb("etcd", etcd, "kill, pause or resume the etcd of a node alone")
    one.add_argument("node", type=a_node, metavar="N")
    one.add_argument("action", choices=["kill", "pause", "resume"])
    one = verb("disk", disk, "fill a node's disk (of 'up --disk-size') or its /run, or make room again")
    one.add_argument("node", type=a_node, metavar="N")
    one.add_argument("action", choices=["fill", "free"])
    one.add_argument("--run", action="store_true", help="the memory disk on /run instead")
    one = verb("watch", watch, "show which node speaks for an address, and each change of it",
               "Shows which node or client speaks for the addresses (MAC, IPv4, IPv6) of one container, and each change of it, "
               "as the ports of the LAN see it, until it is interrupted. It asks for the addresses all the time.")
    one.add_argument("addresses", nargs="+", metavar="ADDRESS")
    return parser


def main(arguments):
    os.environ.setdefault("COLUMNS", "80")  # argparse would take the terminal's, and shows its help at 80
    options = make_parser().parse_args(arguments)
    options.name = getattr(options, "name", DEFAULT_NAME)
    if os.geteuid() != 0:
        print("perdure lab: this makes namespaces and needs root; try 'sudo perdure lab ...'", file=sys.stderr)
        return 1
    if getattr(options, "command", None) and options.command[0] == "--":
        del options.command[0]
    try:
        return options.function(options)
    except (LabError, ProgramsMissing, TimeoutError, CommandFailed) as failure:
        print(("\n" if Step.unfinished else "") + f"perdure lab: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print("perdure lab: interrupted", file=sys.stderr)
        return 130
    return 1
