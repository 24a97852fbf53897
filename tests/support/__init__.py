"""What the end-to-end tests, the demo and the benchmark share: root file systems, nodes, clients.

Needs Debian's python3 as root, nothing from PyPI. See tests/README.md. What the lab needs too is in lab/perdure_lab.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "lab"))

from perdure_lab import cgroups, clients, kernel  # noqa: E402, F401
