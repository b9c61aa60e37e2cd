"""The two ends of what bench/tcp/run.py measures, over the kernel's sockets. Each prints one JSON object, or a line, as it ends.

    ends.py serve ADDRESS                answers every contender at PORT: TCP copies and requests, UDP requests; until it is ended
    ends.py copy ADDRESS FILE HOW        one file over TCP with the congestion control HOW, until the other side says that it has all of it
    ends.py ask ADDRESS COUNT HOW        requests of 1 KB, each answered with 1 KB. HOW: connect, a TCP connection for each; keep, one for all;
                                         udp, one datagram, again after 1, 2, 4 s (as examples/dns_query.cc); udp-rtt, again after what RFC 6298 says
"""
import hashlib
import json
import os
import select
import socket
import struct
import sys
import threading
import time

PORT, COPY_PORT = 7000, 7001
SIZE = 1024
PATIENCE = 120


def whole(stream, size):
    """As many bytes, or fewer where the stream ends."""
    pieces = b""
    while len(pieces) < size and (piece := stream.recv(size - len(pieces))):
        pieces += piece
    return pieces


def listen(address, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)
    return listener


def answer_stream(stream):
    with stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while len(request := whole(stream, SIZE)) == SIZE:
            stream.sendall(request)


def take_copy(stream):
    with stream:
        digest = hashlib.sha256()
        while piece := stream.recv(1 << 16):
            digest.update(piece)
        stream.sendall(digest.digest())


def serve(address):
    def accept(port, function):
        listener = listen(address, port)
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=function, args=[stream], daemon=True).start()
    for port, function in (PORT, answer_stream), (COPY_PORT, take_copy):
        threading.Thread(target=accept, args=[port, function], daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((address, PORT))
        print("ready", flush=True)
        while True:
            request, peer = datagrams.recvfrom(2048)
            datagrams.sendto(request, peer)


def copy(address, file, how):
    with open(file, "rb") as source:
        content = source.read()
    begin = time.perf_counter()
    with socket.socket() as stream:
        stream.settimeout(PATIENCE)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, how.encode())
        stream.connect((address, COPY_PORT))
        stream.sendall(content)
        stream.shutdown(socket.SHUT_WR)
        digest = whole(stream, 32)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "same": digest == hashlib.sha256(content).digest()}


def request_of(number):
    return struct.pack(">I", number) + os.urandom(SIZE - 4)


def connected(address):
    stream = socket.create_connection((address, PORT), timeout=PATIENCE)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


class Patience:
    """How long to wait for an answer: what it took so far, and four times how much that varied (RFC 6298); or always 1 s."""

    def __init__(self, learns):
        self.learns = learns
        self.smooth = self.deviation = None
        self.limit = 1.0

    def took(self, seconds):
        if not self.learns:
            return
        self.deviation = seconds / 2 if self.smooth is None else (3 * self.deviation + abs(self.smooth - seconds)) / 4
        self.smooth = seconds if self.smooth is None else (7 * self.smooth + seconds) / 8
        self.limit = max(0.02, self.smooth + 4 * self.deviation)


def ask_datagram(datagrams, request, patience):
    """How often it was asked again."""
    limit = patience.limit
    for again in range(10):
        sent = time.perf_counter()
        datagrams.send(request)
        while (left := sent + limit - time.perf_counter()) > 0 and select.select([datagrams], [], [], left)[0]:
            if datagrams.recv(2048) == request:
                if again == 0:  # of one that was sent twice nobody knows which was answered (Karn)
                    patience.took(time.perf_counter() - sent)
                return again
        limit *= 2
    raise TimeoutError("no answer to ten requests")


def ask(address, count, how):
    times, again, wrong = [], 0, 0
    patience = Patience(how == "udp-rtt")
    if how == "keep":
        kept = connected(address)
    if how.startswith("udp"):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.connect((address, PORT))
    for number in range(count):
        request = request_of(number)
        begin = time.perf_counter()
        if how.startswith("udp"):
            again += ask_datagram(datagrams, request, patience)
        else:
            stream = kept if how == "keep" else connected(address)
            stream.sendall(request)
            wrong += whole(stream, SIZE) != request
        times.append(time.perf_counter() - begin)
        if how == "connect":
            stream.close()
    return {"seconds": times, "again": again, "wrong": wrong}


if __name__ == "__main__":
    role, address, *words = sys.argv[1:]
    if role == "serve":
        serve(address)
    print(json.dumps(copy(address, *words) if role == "copy" else ask(address, int(words[0]), words[1])))
