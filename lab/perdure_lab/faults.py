"""The verbs of `perdure lab` that break something, put it right again, and look who speaks meanwhile."""

import signal
import time

from .lab import Lab
from .output import Step, ending, say
from .remains import LabError

WATCH_STEP = 0.2  # seconds between two looks at who speaks


def pick(lab, number):
    if number not in lab.nodes:
        raise LabError(f"there is no node {number}", f"the nodes of this lab are 1 to {max(lab.nodes)}")
    return lab.nodes[number]


def power(options):
    lab = Lab.attach(options.name)
    lab.for_people = True
    if options.verb == "kill":
        return kill(lab, [pick(lab, number) for number in options.nodes])
    node = pick(lab, options.node)
    if options.verb == "boot":
        step = Step(f"{node.name} boots")
        node.boot()
        step.done()
    elif options.verb == "pause":
        node.pause()
        say(f"{node.name} stands still, its clocks go on; 'resume {node.number}' lets it go on.")
    else:
        node.resume()
        say(f"{node.name} goes on.")
    return 0


def kill(lab, nodes):
    lab.kill(*nodes)
    if len(nodes) == 1:
        say(f"{nodes[0].name} is off, as without power: its memory is gone, its peers heard nothing.\n"
            f"'boot {nodes[0].number}' starts it with its disk.")
    else:
        say(f"{', '.join(node.name for node in nodes)} are off, as without power; nobody heard of it.")
        for node in nodes:
            say(f"'boot {node.number}' starts {node.name} with its disk.")
    return 0


def network(options):
    lab = Lab.attach(options.name)
    if options.verb == "cut":
        lab.cut(options.a, options.b, options.one_way, options.only)
    else:
        lab.heal(options.a, options.b)
    show_cuts(lab.cuts())
    return 0


def show_cuts(cuts):
    """`cuts`: as Lab.cuts()."""
    if not cuts:
        say("Nothing is cut.")
    for one, other, *service in cuts:
        both = (other, one, *service) in cuts
        if both and (other, one) < (one, other):
            continue
        what = f", as far as {service[0]} goes" if service else ""
        if "all" in (one, other):
            port = other if one == "all" else one
            say(f"cut: {port} " + ("is cut from everything" if both else
                                   "hears nobody" if one == "all" else "is heard by nobody") + what)
        else:
            say((f"cut: {one} and {other} hear nothing of each other" if both else
                 f"cut: {other} {'hear' if other in ('clients', 'nodes') else 'hears'} nothing of {one}") + what)


def daemon(options):
    lab = Lab.attach(options.name)
    lab.for_people = True
    node = pick(lab, options.node)
    if options.action == "start":
        step = Step(f"perdured of {node.name} starts")
        node.start_daemon()
        step.done()
    elif options.action == "pause":
        node.pause_daemon()
        say(f"perdured of {node.name} stands still, its containers run on.\n'daemon {node.number} resume' lets it go on.")
    elif options.action == "resume":
        node.resume_daemon()
        say(f"perdured of {node.name} goes on.")
    else:
        status = node.kill_daemon(signal.SIGTERM if options.action == "stop" else signal.SIGKILL)
        say(f"perdured of {node.name} is gone ({ending(status)}); its containers run on.")
    return 0


def etcd(options):
    node = pick(Lab.attach(options.name), options.node)
    if options.action == "kill":
        node.kill_etcd()
        say(f"etcd of {node.name} is gone; its perdured starts another one.")
    elif options.action == "pause":
        node.pause_etcd()
        say(f"etcd of {node.name} does not answer any more.\n'etcd {node.number} resume' lets it go on.")
    else:
        node.resume_etcd()
        say(f"etcd of {node.name} goes on.")
    return 0


def disk(options):
    node = pick(Lab.attach(options.name), options.node)
    which, fill, free = ("/run", node.fill_run, node.free_run) if options.run else ("disk", node.fill_disk, node.free_disk)
    (fill if options.action == "fill" else free)()
    say(f"The {which} of {node.name} " + ("is full." if options.action == "fill" else "has room again."))
    return 0


def watch(options):
    """Until it is interrupted."""
    lab = Lab.attach(options.name)
    asking = lab.client()
    with lab.monitor(*options.addresses, asking_from=asking) as monitor:
        last = None
        while True:
            for turn in monitor.speakers(last.first if last else 0):
                if last is None or turn.port != last.port:
                    silent = f", after a silence of {(turn.first - last.last) / 1e6:.0f} ms" if last else ""
                    say(f"{time.strftime('%H:%M:%S')}  {turn.port} speaks{silent}")
                last = turn
            time.sleep(WATCH_STEP)
