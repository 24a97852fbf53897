"""The shop: GET /cart shows the cart, POST /cart/ITEM puts something into it. It keeps nothing itself."""
import http.server
import socket
import socketserver


def redis(*words):
    """One command; a number, or a list of texts."""
    with socket.create_connection(("redis", 6379), timeout=5) as connection:
        answer = connection.makefile("rb")
        command = b"*%d\r\n" % len(words)
        for word in words:
            data = word.encode()
            command += b"$%d\r\n%s\r\n" % (len(data), data)
        connection.sendall(command)
        line = answer.readline()
        if line.startswith(b":"):
            return int(line[1:])
        if not line.startswith(b"*"):
            raise OSError(f"redis says {line!r}")
        items = []
        for _ in range(int(line[1:])):
            length = int(answer.readline()[1:])
            items.append(answer.read(length + 2)[:length].decode())
        return items


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text):
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_from_redis(self, *words):
        try:
            found = redis(*words)
        except OSError as error:
            return self.answer(503, f"the carts are away: {error}")
        self.answer(200, "\n".join(found) if isinstance(found, list) else str(found))

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, "well")
        if self.path == "/cart":
            return self.answer_from_redis("LRANGE", "cart", "0", "-1")
        self.answer(404, "GET /cart or POST /cart/ITEM")

    def do_POST(self):
        if not self.path.startswith("/cart/"):
            return self.answer(404, "POST /cart/ITEM")
        self.answer_from_redis("RPUSH", "cart", self.path.removeprefix("/cart/"))

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET


Server(("", 8000), Shop).serve_forever()
