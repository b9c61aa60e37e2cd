"""An echo as people write it: `echo.py serve PORT` answers, `echo.py ask PORT COUNT` keeps 256 datagrams in flight. Prints one JSON object as it ends."""
import json
import socket
import struct
import sys
import time

IN_FLIGHT = 256
PAYLOAD = b"x" * 64
END = b"end"


def serve(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        server.bind(("127.0.0.1", port))
        print("ready", flush=True)
        while True:
            data, peer = server.recvfrom(2048)
            if data == END:
                break
            server.sendto(data, peer)
    print(json.dumps({"cpu": time.process_time()}))


def ask(port, count):
    server = ("127.0.0.1", port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
        start = time.perf_counter()
        sent = answered = in_flight = 0
        while sent < count or in_flight:
            while in_flight < IN_FLIGHT and sent < count:
                client.sendto(PAYLOAD, server)
                sent += 1
                in_flight += 1
            try:
                client.recvfrom(2048)
                answered += 1
                in_flight -= 1
            except BlockingIOError:  # the rest is lost
                in_flight = 0
        seconds = time.perf_counter() - start
        client.sendto(END, server)
    print(json.dumps({"sent": sent, "received": answered, "seconds": seconds, "cpu": time.process_time()}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        ask(int(sys.argv[2]), int(sys.argv[3]))
