"""Comp-A: passes each line on to Comp-B, which it finds by its name, and says who answered."""
import socket
import threading


def ask():
    with socket.create_connection(("comp-b", 9000), timeout=5) as sponsor:
        sponsor.sendall(b"next\n")
        return sponsor.makefile("r").readline().strip()


def serve(client):
    with client:
        for _ in client.makefile("r"):
            try:
                answer = "comp-b counts " + ask()
            except OSError as error:
                answer = f"comp-b does not answer: {error}"
            client.sendall((answer + "\n").encode())


server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("", 8080))
server.listen()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
