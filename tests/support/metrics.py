"""What a perdured serves for Prometheus, read as Prometheus reads it.

    metrics = scrape(node)
    metrics.value("perdure_container_protected", container="web")    # a number, or None: not known

The parser takes the text format 0.0.4 and nothing else: a line that is none of it is an error.
"""

import re
import sys

URL = "http://127.0.0.1:7480/metrics"
GET = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
SAMPLE = re.compile(r"([a-z_][a-z0-9_]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


class Metrics:
    def __init__(self, text):
        self.types = {}
        self.helps = {}
        self.samples = {}
        for line in text.splitlines():
            self._read(line)

    def _read(self, line):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in self.types, f"{name} twice"
            self.types[name] = kind
        elif line.startswith("# HELP "):
            _, _, name, text = line.split(" ", 3)
            self.helps[name] = text
        else:
            self._read_sample(line)

    def _read_sample(self, line):
        found = SAMPLE.fullmatch(line)
        assert found, f"no sample: {line!r}"
        name, labels, value = found.groups()
        pairs = LABEL.findall(labels or "")
        assert labels is None or "".join(f'{key}="{text}",' for key, text in pairs).rstrip(",") == labels.rstrip(","), line
        key = (name, frozenset(pairs))
        assert key not in self.samples, f"twice: {line!r}"
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert self.types.get(name) or self.types.get(family) == "histogram", f"without a type: {line!r}"
        self.samples[key] = float(value)

    def value(self, name, **labels):
        """None: it is not known."""
        return self.samples.get((name, frozenset(labels.items())))

    def all(self, name):
        """Of every combination of labels."""
        return {key: value for (known, key), value in self.samples.items() if known == name}


def scrape_text(node, url=URL):
    return node.execute(sys.executable, "-c", GET, url).stdout


def scrape(node, url=URL):
    return Metrics(scrape_text(node, url))
