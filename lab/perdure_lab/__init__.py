"""Several nodes on one machine: see docs/lab.md. `Lab` is what tests use, cli.py what people use."""

from .host import CommandFailed, Container, Events, until  # noqa: F401
from .lab import Lab, LabNode  # noqa: F401
from .monitor import Monitor  # noqa: F401
from .remains import LabError  # noqa: F401
