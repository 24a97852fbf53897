"""What tests ask of the components of a container (programs/component.py), each time over a new connection."""

from .node import until


class Components:
    def __init__(self, client, address):
        self.client, self.address = client, address

    def ask(self, port, line):
        lines = self.client.lines(self.address, port)
        try:
            return lines.ask(line)
        finally:
            lines.close()

    def tell(self, port, line):
        """Without an answer."""
        lines = self.client.lines(self.address, port)
        lines.send(line)
        lines.close()

    def answers(self, port):
        """Its life, when it can be had."""
        def look():
            try:
                return self.ask(port, "pid")
            except OSError:
                return None
        return until(look, f"port {port} does not answer")
