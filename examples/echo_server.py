"""An echo server, with the kernel's sockets, or under `gannet run` with ours: echo_server.py [HOST [PORT]]. Prints the port when it listens."""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 65433

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((HOST, PORT))
    print(s.getsockname()[1], flush=True)
    while True:
        data, addr = s.recvfrom(1024)
        s.sendto(data, addr)
