"""The Linux kernel as the other host of the wire: its sockets and programs talk to ours."""
import re
import socket
import struct
import subprocess
import time

from wire import OURS, PATIENCE, TAP, OnTheWire

PORT = 5000
IP_RECVTTL = 12
KERNEL, GROUP = "10.7.0.1", "239.4.0.1"


class Kernel(OnTheWire):
    kernel = f"{KERNEL}/16"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        subprocess.run(["ip", "route", "add", "default", "dev", TAP], check=True)

    def kernel_socket(self, port=0):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        made.settimeout(PATIENCE)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("0.0.0.0", port))
        return made

    def wait(self, ask):
        """What it says once it says something."""
        deadline = time.monotonic() + PATIENCE
        while not (said := ask()) and time.monotonic() < deadline:
            time.sleep(0.005)
        self.assertTrue(said)
        return said

    def test_datagrams_of_all_sizes_both_ways(self):
        """U6, F1, F8: the kernel believes our checksums and puts our fragments together, and we its."""
        client, server = self.kernel_socket(), self.socket(PORT)
        for size in (*range(0, 20), 1471, 1472, 1473, 1480, 2953, 9000, 65507):
            data = bytes(i * 13 & 255 for i in range(size))
            client.sendto(data, (OURS, PORT))
            [datagram] = self.wait(server.receive)
            self.assertEqual((datagram.data, datagram.peer), (data, (KERNEL, client.getsockname()[1])))
            server.send(datagram.data, datagram.peer)
            self.assertEqual(client.recvfrom(65536), (data, (OURS, PORT)))

    def test_a_closed_port_of_ours(self):
        """U1: ECONNREFUSED."""
        client = self.kernel_socket()
        client.connect((OURS, 9))
        client.send(b"anybody?")
        with self.assertRaises(ConnectionRefusedError):
            client.recv(100)

    def test_a_closed_port_of_the_kernels(self):
        """U5, X6: the same for us."""
        client = self.socket()
        client.connect((KERNEL, 9))
        client.send(b"anybody?")
        [failure] = self.wait(client.failures)
        self.assertEqual((failure.error, failure.type, failure.code, failure.offender), (111, 3, 3, KERNEL))

    def test_ping(self):
        """I5, A2: three requests, three answers; with 4,000 bytes in fragments, too."""
        for size in (56, 4000):
            done = subprocess.run(["ping", "-c", "3", "-i", "0.05", "-W", "20", "-s", str(size), OURS], capture_output=True, text=True, check=False)
            self.assertTrue(re.search(r"3 packets transmitted, 3 received, 0% packet loss", done.stdout), done.stdout)

    def test_broadcasts(self):
        """P7, U11: what the kernel sends to all we hear, and the other way."""
        client, server = self.kernel_socket(PORT), self.socket(PORT, broadcast=1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for dst in ("10.7.255.255", "255.255.255.255"):
            client.sendto(b"from the kernel", (dst, PORT))
            [datagram] = self.wait(server.receive)
            self.assertEqual((datagram.data, datagram.local), (b"from the kernel", (dst, PORT)))
            self.assertEqual(client.recv(100), b"from the kernel")  # its own copy
            server.send(b"from us", (dst, PORT))
            self.assertEqual(client.recvfrom(100), (b"from us", (OURS, PORT)))
            self.assertEqual(server.data(), [b"from us"])  # likewise

    def test_groups(self):
        """G1, G2, X15: a member on each side hears the other."""
        client, server = self.kernel_socket(PORT), self.socket(PORT)
        interface = socket.inet_aton(KERNEL)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(GROUP), interface))
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        server.join(GROUP)
        client.sendto(b"from the kernel", (GROUP, PORT))
        self.assertEqual([(datagram.data, datagram.local) for datagram in self.wait(server.receive)], [(b"from the kernel", (GROUP, PORT))])
        server.send(b"from us", (GROUP, PORT))
        self.assertEqual(client.recvfrom(100), (b"from us", (OURS, PORT)))

    def test_ttl_and_tos(self):
        """U18, U19: as the kernel sees them, and as we see its."""
        client, server = self.kernel_socket(), self.socket(PORT, ttl=9, tos=0xb8)
        client.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x2e)
        client.sendto(b"x", (OURS, PORT))
        [datagram] = self.wait(server.receive)
        self.assertEqual((datagram.ttl, datagram.tos), (7, 0x2e))
        server.send(b"y", datagram.peer)
        _, items, _, _ = client.recvmsg(100, 200)
        self.assertEqual({(kind, data[0]) for _, kind, data in items}, {(socket.IP_TTL, 9), (socket.IP_TOS, 0xb8)})
