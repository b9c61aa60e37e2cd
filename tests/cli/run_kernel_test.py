"""Programs under `gannet run` on the machine's own addresses: they reach programs outside and are reached, as on the kernel. By an ordinary user.

Where a test has both ends inside, the hub's counters show that our stack carried it; with one end outside, that it carried the inside's half.
"""
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import gannet
import programs
from gannet import GANNET, PATIENCE, skip
from programs import AGENT, PYTHON, Agent, Programs, echo_client, echo_server, result_of, status, under

LOCALHOST = "127.0.0.1"
IP_TOS, IP_TTL, IP_PKTINFO, IP_RECVERR, IP_RECVTTL, IP_RECVTOS = 1, 2, 8, 11, 12, 13


def outside(*address, reuse=0):
    """A socket of the kernel's."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    try:
        if address:
            made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def setting(name):
    return Path("/proc/sys/net/ipv4", name).read_text(encoding="ascii")


class RunKernel(Programs):
    via = "kernel"

    def outside(self, *address, **more):
        made = outside(*address, **more)
        self.addCleanup(made.close)
        return made

    def inside(self):
        return Agent(self.start(PYTHON, "-c", AGENT, stdin=subprocess.PIPE))

    def start_outside(self, *program, **more):
        process = subprocess.Popen(program, **{"stdout": subprocess.PIPE, "text": True, **more})
        self.addCleanup(self.end, process)
        return process

    def free_port(self):
        with outside(LOCALHOST, 0) as probe:
            return probe.getsockname()[1]


class Pairs(RunKernel):
    """The programs that the project began with, and nc."""

    def echo(self, start, prefix):
        port = start(*echo_server()).stdout.readline().strip()
        self.assertEqual(result_of([*prefix, *echo_client("127.0.0.1", port)]), (0, "Hello, UDP server!\n", ""))

    def test_pythons_echo_inside(self):
        self.echo(self.start, under(via="kernel"))
        self.assertEqual(self.carried(), (2, 2))

    def test_pythons_echo_with_the_client_outside(self):
        self.echo(self.start, [])
        self.assertEqual(self.carried(), (1, 1))

    def test_pythons_echo_with_the_server_outside(self):
        self.echo(self.start_outside, under(via="kernel"))
        self.assertEqual(self.carried(), (1, 1))

    def netcat(self, start, prefix):
        nc = shutil.which("nc")
        if not nc:
            self.skipTest("nc (netcat-openbsd) is not installed")
        port = str(self.free_port())
        server = start(nc, "-u", "-l", "-p", port, stdin=subprocess.PIPE)
        self.wait_until(lambda: port in subprocess.run(["ss", "-uln"], capture_output=True, text=True, check=True).stdout)
        client = subprocess.Popen([*prefix, nc, "-u", LOCALHOST, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, client)
        for here, there, line in (client, server, "ask\n"), (server, client, "answer\n"), (client, server, "thanks\n"):
            here.stdin.write(line)
            here.stdin.flush()
            self.assertEqual(there.stdout.readline(), line)

    def test_netcat_with_the_client_outside(self):
        self.netcat(self.start, [])
        self.assertEqual(self.carried(), (1, 2))

    def test_netcat_with_the_server_outside(self):
        self.netcat(self.start_outside, under(via="kernel"))
        self.assertEqual(self.carried(), (2, 1))


class Ports(RunKernel):
    """A port is the machine's."""

    def test_taken_outside(self):
        taken = self.outside(LOCALHOST, 0).getsockname()[1]
        inside = self.inside()
        self.assertEqual(inside(f"U('{LOCALHOST}', {taken})"), "EADDRINUSE")
        self.assertEqual(inside(f"U('0.0.0.0', {taken})"), "EADDRINUSE")
        self.assertEqual(inside(f"U('127.0.0.2', {taken}).getsockname()"), ("127.0.0.2", taken))
        self.assertEqual(inside("U('192.0.2.1', 0)"), "EADDRNOTAVAIL")
        if int(setting("ip_unprivileged_port_start")) > 999:
            self.assertEqual(inside(f"U('{LOCALHOST}', 999)"), "EACCES")

    def test_taken_inside(self):
        inside = self.inside()
        port = inside(f"(s := U('{LOCALHOST}', 0)).getsockname()")[1]
        with self.assertRaises(OSError) as caught:
            outside(LOCALHOST, port)
        self.assertEqual(caught.exception.strerror, "Address already in use")
        inside("s.close()")
        self.wait_until(lambda: self.is_free(port))

    def is_free(self, port):
        try:
            outside(LOCALHOST, port).close()
        except OSError:
            return False
        return True

    def test_given_back_by_a_killed_program(self):
        inside = self.inside()
        port = inside(f"(s := U('{LOCALHOST}', 0)).getsockname()")[1]
        inside.process.stdin.write("os.kill(os.getpid(), 9)\n")
        inside.process.stdin.flush()
        self.wait_until(lambda: self.is_free(port))

    def test_ephemeral_ports_are_of_the_kernels_range(self):
        low, high = map(int, setting("ip_local_port_range").split())
        for port in self.inside()("[U('0.0.0.0', 0).getsockname()[1] for _ in range(20)]"):
            self.assertTrue(low <= port <= high, port)

    def test_a_closed_port_outside(self):
        """The error comes to who sent there, connected or asking for errors; and not twice."""
        closed = self.free_port()
        inside = self.inside()
        inside(f"s = U(); s.connect(('{LOCALHOST}', {closed})); s.send(b'x')")
        self.assertEqual(inside("s.recv(10)"), "ECONNREFUSED")
        self.assertIsNone(inside("quiet(s)"))
        inside(f"e = U(); e.setsockopt(IPPROTO_IP, {IP_RECVERR}, 1); e.sendto(b'quoted', ('{LOCALHOST}', {closed}))")
        inside("p = select.poll(); p.register(e, 0); p.poll(30000)")
        data, control, _, peer = inside("e.recvmsg(100, 200, MSG_ERRQUEUE)")
        self.assertEqual((data, peer), (b"quoted", (LOCALHOST, closed)))
        self.assertEqual(struct.unpack("IBBB", control[0][2][:7])[1:], (2, 3, 3))  # by ICMP: port unreachable
        other = self.outside(LOCALHOST, 0)
        inside(f"s.sendto(b'later', {other.getsockname()})")
        self.assertEqual(other.recv(10), b"later")

    def test_a_closed_port_inside(self):
        """A program outside that sends to a port which nobody has is refused by the kernel; one that we had, too."""
        inside = self.inside()
        port = inside(f"(s := U('{LOCALHOST}', 0)).getsockname()")[1]
        client = self.outside()
        client.connect((LOCALHOST, port))
        inside("s.close()")
        self.wait_until(lambda: self.is_free(port))
        client.send(b"x")
        self.assertRaises(ConnectionRefusedError, client.recv, 10)


class Datagrams(RunKernel):
    def test_of_all_sizes_both_ways(self):
        inside, other = self.inside(), self.outside(LOCALHOST, 0)
        here = inside(f"(s := U('{LOCALHOST}', 0)).getsockname()")
        sizes = (0, 1, 1472, 2048, 9000, 60000, 65507)
        for size in sizes:
            data = bytes(i * 13 & 255 for i in range(size))
            other.sendto(data, here)
            self.assertEqual(inside("s.sendto(*s.recvfrom(65536))"), size)
            self.assertEqual(other.recvfrom(65536), (data, here))
        self.assertEqual(inside(f"s.sendto(bytes(65508), {here})"), "EMSGSIZE")
        self.assertEqual(self.carried(), (len(sizes), len(sizes)))

    def test_many_at_once(self):
        """None is lost while the receiver keeps up, and the order holds."""
        inside, other = self.inside(), self.outside(LOCALHOST, 0)
        here = inside(f"(s := U('{LOCALHOST}', 0)).getsockname()")
        for start in range(0, 3000, 100):
            for i in range(start, start + 100):
                other.sendto(b"%d" % i, here)
            self.assertEqual(inside("[int(s.recv(10)) for _ in range(100)]"), list(range(start, start + 100)))
            inside(f"[s.sendto(b'%d' % i, {other.getsockname()}) for i in range({start}, {start + 100})]")
            self.assertEqual([int(other.recv(10)) for _ in range(100)], list(range(start, start + 100)))

    def test_ttl_and_tos_both_ways(self):
        inside, other = self.inside(), self.outside(LOCALHOST, 0)
        for option in IP_RECVTTL, IP_RECVTOS:
            other.setsockopt(socket.IPPROTO_IP, option, 1)
        inside(f"s = U(); s.setsockopt(IPPROTO_IP, {IP_TTL}, 77); s.setsockopt(IPPROTO_IP, {IP_TOS}, 0xb8); s.sendto(b'out', {other.getsockname()})")
        data, control, _, peer = other.recvmsg(100, 200)
        self.assertEqual({kind: value[0] for _, kind, value in control}, {IP_TTL: 77, IP_TOS: 0xB8})
        inside(f"s.setsockopt(IPPROTO_IP, {IP_RECVTTL}, 1); s.setsockopt(IPPROTO_IP, {IP_RECVTOS}, 1)")
        other.sendmsg([b"in"], [(0, IP_TTL, struct.pack("i", 33)), (0, IP_TOS, struct.pack("i", 0x02))], 0, peer)
        data, control = inside("s.recvmsg(100, 200)")[:2]
        self.assertEqual((data, {kind: value[0] for _, kind, value in control}), (b"in", {IP_TTL: 33, IP_TOS: 0x02}))
        inside(f"d = U(); d.sendto(b'default', {other.getsockname()})")
        default = int(setting("ip_default_ttl"))
        self.assertEqual({kind: value[0] for _, kind, value in other.recvmsg(100, 200)[1]}, {IP_TTL: default, IP_TOS: 0})

    def test_a_wildcard_socket_answers_from_the_address_it_is_told(self):
        """As on the kernel: from that of the route; with IP_PKTINFO from the one that was asked."""
        inside, other = self.inside(), self.outside("127.0.0.5", 0)
        port = inside("(s := U('0.0.0.0', 0)).getsockname()")[1]
        inside(f"s.setsockopt(IPPROTO_IP, {IP_PKTINFO}, 1)")
        other.sendto(b"ask", ("127.0.0.2", port))
        data, control, _, peer = inside("s.recvmsg(100, 200)")
        self.assertEqual((data, peer), (b"ask", other.getsockname()))
        self.assertEqual(control, [(0, IP_PKTINFO, struct.pack("i4s4s", 1, *[socket.inet_aton("127.0.0.2")] * 2))])
        inside(f"s.sendmsg([b'answer'], [(IPPROTO_IP, {IP_PKTINFO}, struct.pack('i4s4s', 0, inet_aton('127.0.0.2'), bytes(4)))], 0, {peer})")
        self.assertEqual(other.recvfrom(100), (b"answer", ("127.0.0.2", port)))
        kernel = self.outside("0.0.0.0", 0)
        kernel.sendto(b"", other.getsockname())
        inside(f"s.sendto(b'plain', {peer})")
        self.assertEqual([other.recvfrom(100)[1][0] for _ in range(2)], [LOCALHOST] * 2)

    def test_every_interface_and_address(self):
        """What a program finds on the machine it can bind, and it is reached there."""
        inside, other = self.inside(), self.outside()
        names = inside("if_nameindex()")
        self.assertEqual(names, socket.if_nameindex())
        inside("q = socket(AF_INET, SOCK_STREAM)")
        for _, name in names:
            found = inside(f"inet_ntoa(fcntl.ioctl(q.fileno(), 0x8915, struct.pack('256s', b'{name}'))[20:24])")
            if found == "EADDRNOTAVAIL":
                continue
            here = inside(f"(s := U('{found}', 0)).getsockname()")
            self.assertEqual(here[0], found)
            other.sendto(b"x", here)
            self.assertEqual(inside("s.sendto(*s.recvfrom(10))"), 1)
            self.assertEqual(other.recvfrom(10), (b"x", here))


class Groups(RunKernel):
    GROUP = "239.77.1.2"
    JOIN = f"struct.pack('4s4s', inet_aton('{GROUP}'), inet_aton('{LOCALHOST}'))"

    def join(self, port):
        member = self.outside("0.0.0.0", port, reuse=1)
        member.setsockopt(0, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(self.GROUP), socket.inet_aton(LOCALHOST)))
        return member

    def sender(self, inside, name="s"):
        return inside(f"({name} := U('{LOCALHOST}', 0)).setsockopt(IPPROTO_IP, IP_MULTICAST_IF, inet_aton('{LOCALHOST}'))")

    def test_from_outside(self):
        inside, other = self.inside(), self.outside()
        port = self.free_port()
        inside(f"m = U('0.0.0.0', {port}); m.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, {self.JOIN})")
        other.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton(LOCALHOST))
        other.sendto(b"to all", (self.GROUP, port))
        self.assertEqual(inside("m.recv(100)"), b"to all")
        self.assertIsNone(inside("quiet(m)"), "one copy")
        inside(f"m.setsockopt(IPPROTO_IP, IP_DROP_MEMBERSHIP, {self.JOIN})")
        other.sendto(b"to others", (self.GROUP, port))
        self.assertIsNone(inside("quiet(m)"))

    def test_to_outside(self):
        inside, port = self.inside(), self.free_port()
        member = self.join(port)
        self.sender(inside)
        inside(f"s.sendto(b'to all', ('{self.GROUP}', {port}))")
        self.assertEqual(member.recv(100), b"to all")

    def test_both_inside(self):
        """One copy each, though the kernel loops what we send back to us too; also where the sender has the members' port, shared."""
        inside, peer, port = self.inside(), self.inside(), self.free_port()
        for each in inside, peer:
            each(f"m = U('0.0.0.0', {port}, reuse=1); m.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, {self.JOIN})")
            each(f"m.setsockopt(IPPROTO_IP, IP_MULTICAST_IF, inet_aton('{LOCALHOST}'))")
        self.sender(inside)
        for line, data in (f"s.sendto(b'one', ('{self.GROUP}', {port}))", b"one"), (f"m.sendto(b'two', ('{self.GROUP}', {port}))", b"two"):
            inside(line)
            for each in inside, peer:
                self.assertEqual(each("m.recv(100)"), data)
                self.assertIsNone(each("quiet(m)"), data)
        self.assertEqual(self.carried(), (2, 2))

    def test_both_inside_and_outside_on_one_port(self):
        inside, port = self.inside(), self.free_port()
        inside(f"m = U('0.0.0.0', {port}, reuse=1); m.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, {self.JOIN})")
        inside(f"m.setsockopt(IPPROTO_IP, IP_MULTICAST_IF, inet_aton('{LOCALHOST}'))")
        member = self.join(port)
        member.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton(LOCALHOST))
        inside(f"m.sendto(b'from within', ('{self.GROUP}', {port}))")
        member.sendto(b"from without", (self.GROUP, port))
        heard = [inside("m.recv(100)") for _ in range(2)]
        self.assertEqual(sorted(heard), [b"from within", b"from without"])
        self.assertEqual(sorted(member.recv(100) for _ in range(2)), [b"from within", b"from without"])
        self.assertIsNone(inside("quiet(m)"))

    def test_broadcast(self):
        everybody = "127.255.255.255"
        inside, port = self.inside(), self.free_port()
        other = self.outside("0.0.0.0", port, reuse=1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        inside(f"b = U('0.0.0.0', {port}, reuse=1)")
        other.sendto(b"from without", (everybody, port))
        self.assertEqual(other.recv(100), b"from without")
        self.assertEqual(inside("b.recv(100)"), b"from without")
        self.assertEqual(inside(f"b.sendto(b'x', ('{everybody}', {port}))"), "EACCES")
        inside(f"b.setsockopt(SOL_SOCKET, SO_BROADCAST, 1); b.sendto(b'from within', ('{everybody}', {port}))")
        self.assertEqual(inside("b.recv(100)"), b"from within")
        self.assertEqual(other.recv(100), b"from within")
        self.assertIsNone(inside("quiet(b)"))


class Names(RunKernel):
    """dnsmasq and dig."""

    def serve(self, start, *flags):
        for program in "dnsmasq", "dig":
            if not shutil.which(program):
                self.skipTest(f"{program} is not installed")
        port = self.free_port()
        start(shutil.which("dnsmasq"), "-k", "-p", str(port), "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--user=", "--group=",
              "--host-record=gannet.test,192.0.2.53", *flags)
        return port

    def dig(self, port, *prefix):
        found = []

        def ask():
            found[:] = result_of([*prefix, shutil.which("dig"), "+short", "+time=2", "+tries=1", "-p", str(port), f"@{LOCALHOST}", "gannet.test"])
            return found[0] == 0

        self.wait_until(ask)
        self.assertEqual(found[1], "192.0.2.53\n", found[2])

    def test_dnsmasq_inside(self):
        for flags in ["--bind-interfaces", "--listen-address=127.0.0.1"], []:
            with self.subTest(flags=flags):
                self.before = status(self.via)
                port = self.serve(self.start, *flags)
                self.dig(port)
                self.assertGreaterEqual(min(self.carried()), 1)
                self.before = status(self.via)
                self.dig(port, *under(via="kernel"))
                self.assertGreaterEqual(min(self.carried()), 2)

    def test_dnsmasq_outside(self):
        port = self.serve(self.start_outside, "--bind-interfaces", "--listen-address=127.0.0.1")
        self.dig(port, *under(via="kernel"))
        self.assertGreaterEqual(min(self.carried()), 1)


def be_ordinary():
    """Nothing here needs a privilege, so none is kept."""
    if os.geteuid() != 0:
        return
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    os.environ["HOME"] = "/"
    os.environ.pop("XDG_RUNTIME_DIR", None)
    if not os.access(GANNET, os.X_OK):
        skip(f"an ordinary user cannot run {GANNET}")


if __name__ == "__main__":
    gannet.require_gannet()
    be_ordinary()
    programs.main()
