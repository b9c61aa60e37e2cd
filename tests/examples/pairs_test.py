"""The example programs, each pair as a person would start it, in a network namespace of their own.

The echo pair runs in all four pairings with the two programs of Python's socket library that everybody knows: same calls, same host, same port.
"""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("GANNET_BUILD_DIR", "build/dev")
IN_NAMESPACE = "GANNET_TEST_IN_NAMESPACE"

PYTHON_SERVER = """
import socket

HOST = '127.0.0.1'  # Localhost
PORT = 65433        # Port to listen on

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((HOST, PORT))
    print(f"UDP server listening on {HOST}:{PORT}", flush=True)
    while True:
        data, addr = s.recvfrom(1024) # Buffer size is 1024 bytes; returns (bytes, address)
        print(f"Received from {addr}: {data.decode()}", flush=True)
        s.sendto(data, addr)  # Echo back to the sender's address
"""

PYTHON_CLIENT = """
import socket

HOST = '127.0.0.1'  # The server's hostname or IP address
PORT = 65433        # The port used by the server
MESSAGE = b"Hello, UDP server!"

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.sendto(MESSAGE, (HOST, PORT)) # Specify server address and port
    data, server_addr = s.recvfrom(1024) # Returns (bytes, address)

print(f"Received from server {server_addr}: {data.decode()}")
"""


def python(program):
    return ["/usr/bin/python3", "-c", program]


def example(name):
    return [os.path.join(BUILD, "examples", name)]


def skip(reason):
    print(reason)
    sys.exit(77)


def enter_namespace():
    """Starts this script again in a namespace with lo and one Ethernet interface."""
    if os.environ.get(IN_NAMESPACE):
        return
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    # Broadcasts and multicasts of the examples name no interface: a link that is up, and a route to it.
    network = " && ".join(["ip link set lo up", "ip link add link0 type veth peer name link1", "ip addr add 10.77.0.1/24 brd + dev link0",
                           "ip link set link0 up", "ip link set link1 up", "ip route add default dev link0"])
    probe = subprocess.run([*unshare, "sh", "-c", network], capture_output=True, text=True)
    if probe.returncode != 0:
        skip("no network namespace with an interface to be had here: " + probe.stderr.strip())
    command = [*unshare, "sh", "-c", network + ' && exec "$@"', "sh", sys.executable, __file__]
    sys.exit(subprocess.run(command, env={**os.environ, IN_NAMESPACE: "1"}).returncode)


def run_pair(title, server, client, server_says, client_says):
    """Starts the server, waits until it says that it listens, runs the client; both must say what is expected of them."""
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as listening:
        try:
            first = listening.stdout.readline()
            assert "isten" in first, f"{title}: the server said {first!r}"
            result = subprocess.run(client, capture_output=True, text=True, timeout=20)
            assert result.returncode == 0, f"{title}: the client failed: {result.stderr}"
            assert client_says in result.stdout, f"{title}: the client said {result.stdout!r}"
            heard = listening.stdout.readline()
            assert heard.startswith("Received from ") and server_says in heard, f"{title}: the server heard {heard!r}"
        finally:
            listening.terminate()
    print("ok:", title)


def run_sealed_pair():
    """The client knows the server by its certificate's fingerprint, and believes no other."""
    with subprocess.Popen([*example("dtls_echo_server"), "127.0.0.1:4433"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert "listening" in server.stdout.readline()
            fingerprint = server.stdout.readline().split()[1]
            client = [*example("dtls_echo_client"), "127.0.0.1:4433"]
            result = subprocess.run([*client, fingerprint], capture_output=True, text=True, timeout=20)
            assert ": Hello, DTLS server!" in result.stdout, f"sealed: the client said {result}"
            wrong = subprocess.run([*client, "00" + fingerprint[2:] if fingerprint[:2] != "00" else "01" + fingerprint[2:]], capture_output=True, text=True, timeout=20)
            assert wrong.returncode == 1 and "none that was to be trusted" in wrong.stderr and not wrong.stdout, wrong
            heard = server.stdout.readline()
            assert heard.startswith("Received from ") and ": Hello, DTLS server!" in heard, f"sealed: the server heard {heard!r}"
        finally:
            server.terminate()
    print("ok: sealed")


def main():
    if not os.path.exists(example("echo_server")[0]):
        skip("the examples are not built")
    enter_namespace()

    servers = {"C++ server": example("echo_server"), "Python server": python(PYTHON_SERVER)}
    clients = {"C++ client": example("echo_client"), "Python client": python(PYTHON_CLIENT)}
    for server_name, server in servers.items():
        for client_name, client in clients.items():
            run_pair(f"{server_name}, {client_name}", server, client, ": Hello, UDP server!", ": Hello, UDP server!")

    run_pair("multicast", example("multicast_receiver"), example("multicast_sender"), ": Hello, group!", "Sent to 239.255.65.43:65433")
    run_pair("broadcast", example("broadcast_receiver"), example("broadcast_sender"), "sent to 255.255.255.255: Hello, everybody!",
             "Sent to 255.255.255.255:65433")

    if os.path.exists(example("dtls_echo_server")[0]):
        run_sealed_pair()

    # Two servers at one port: the second says in one sentence what is wrong.
    with subprocess.Popen(example("echo_server"), stdout=subprocess.PIPE, text=True) as first:
        try:
            first.stdout.readline()
            second = subprocess.run(example("echo_server"), capture_output=True, text=True, timeout=20)
            assert second.returncode != 0 and "another socket has this address and port" in second.stderr, second.stderr
        finally:
            first.terminate()
    print("ok: a port that is taken")


main()
