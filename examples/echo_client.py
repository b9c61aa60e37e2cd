"""Its client, which prints the answer: echo_client.py [HOST [PORT [SECONDS]]]."""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 65433

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(float(sys.argv[3]) if len(sys.argv) > 3 else 30)
    s.sendto(b"Hello, UDP server!", (HOST, PORT))
    data, addr = s.recvfrom(1024)
    print(data.decode())
