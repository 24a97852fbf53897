"""What the end-to-end tests, the demo and the benchmark share: root file systems, nodes, clients.

Needs Debian's python3 as root, nothing from PyPI. See tests/README.md.
"""
