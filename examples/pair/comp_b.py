"""Comp-B: counts. Each line that it is sent is answered by the next number."""
import socket
import threading

count = 0
lock = threading.Lock()


def serve(client):
    global count
    with client:
        for _ in client.makefile("r"):
            with lock:
                count += 1
                answer = count
            client.sendall(f"{answer}\n".encode())


server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("", 9000))
server.listen()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
