"""Programs under `gannet run` on a machine with a network: interfaces, addresses and routes that come and go, a router, a path with a small MTU.

    here: near 10.1.0.1/24 ---- 10.1.0.254 router 10.2.0.254 ---- 10.2.0.1/24 :far
          mtu 1500                                  mtu 1200
"""
import os
import shutil
import socket
import struct
import subprocess

import gannet
import programs
from gannet import enter_namespace, skip
from programs import AGENT, PYTHON, Agent, Programs, result_of, under

HERE, ROUTER, FAR = "10.1.0.1", "10.1.0.254", "10.2.0.1"
IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_MTU, DO = 10, 11, 12, 14, 2


def ip(*words, among=()):
    subprocess.run([*among, "ip", *" ".join(words).split()], check=True)


class Namespace:
    """Another network namespace, for as long as a process sleeps in it."""

    def __init__(self, test_class):
        self.process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec sleep 1000"], stdout=subprocess.PIPE, text=True)
        test_class.addClassCleanup(self.end)
        self.process.stdout.readline()
        self.enter = ["nsenter", "-t", str(self.process.pid), "-n"]
        self("link set lo up")

    def __call__(self, words):
        ip(words, among=self.enter)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Network(Programs):
    via = "kernel"

    @classmethod
    def setUpClass(cls):
        cls.router, cls.far = Namespace(cls), Namespace(cls)
        ip(f"link add toward_far type veth peer name far netns {cls.far.process.pid}")
        ip(f"link set toward_far netns {cls.router.process.pid}")
        for command in "addr add 10.2.0.254/24 dev toward_far", "link set toward_far mtu 1200 up":
            cls.router(command)
        for command in f"addr add {FAR}/24 dev far", "link set far mtu 1200 up", "route add default via 10.2.0.254":
            cls.far(command)
        subprocess.run([*cls.router.enter, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)

    def setUp(self):
        """The hub runs before there is any interface but lo."""
        super().setUp()
        self.inside = Agent(self.start(PYTHON, "-c", AGENT, stdin=subprocess.PIPE))

    def connect(self):
        ip(f"link add near type veth peer name toward_near netns {self.router.process.pid}")
        self.addCleanup(lambda: ip("link del near") if "near" in dict(map(reversed, socket.if_nameindex())) else None)
        for command in f"addr add {ROUTER}/24 dev toward_near", "link set toward_near up":
            self.router(command)
        ip(f"addr add {HERE}/24 dev near")
        ip("link set near up")
        ip("route add 10.2.0.0/16 via", ROUTER)
        self.wait_for(f"U().connect(('{FAR}', 9))", None)

    def peer(self, namespace=None):
        """An agent on the kernel, in another namespace."""
        return self.outside((namespace or self.far).enter)

    def outside(self, enter=()):
        """An agent on the kernel."""
        process = subprocess.Popen([*enter, PYTHON, "-c", AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        return Agent(process)

    def wait_for(self, line, value):
        """Until it says so: what becomes of the network reaches our host a moment later."""
        self.wait_until(lambda: self.inside(line) == value)


class Follows(Network):
    def test_an_interface_that_comes_and_goes(self):
        self.assertEqual(self.inside(f"U('{HERE}', 0)"), "EADDRNOTAVAIL")
        self.assertEqual(self.inside(f"U().sendto(b'x', ('{ROUTER}', 9))"), "ENETUNREACH")
        self.connect()
        peer = self.peer(self.router)
        there = peer(f"(s := U('{ROUTER}', 0)).getsockname()")
        here = self.inside(f"(s := U('{HERE}', 0)).getsockname()")
        self.inside(f"s.sendto(b'out', {there})")
        self.assertEqual(peer("s.recvfrom(10)"), (b"out", here))
        peer(f"s.sendto(b'in', {here})")
        self.assertEqual(self.inside("s.recvfrom(10)"), (b"in", there))
        self.assertGreaterEqual(min(self.carried()), 1)
        ip("link del near")
        self.wait_for(f"U('{HERE}', 0) is None", "EADDRNOTAVAIL")
        self.wait_for(f"U().sendto(b'x', {there})", "ENETUNREACH")

    def test_an_interface_that_goes_down(self):
        self.connect()
        ip("link set near down")
        self.wait_for(f"U().sendto(b'x', ('{ROUTER}', 9))", "ENETUNREACH")
        ip("link set near up")
        self.wait_for(f"U().sendto(b'x', ('{ROUTER}', 9))", 1)

    def test_addresses(self):
        self.connect()
        ip("addr add 10.1.0.2/24 dev near")
        self.wait_for("U('10.1.0.2', 0).getsockname()[0]", "10.1.0.2")
        peer = self.peer(self.router)
        there = peer(f"(s := U('{ROUTER}', 0)).getsockname()")
        for source in "10.1.0.2", HERE:
            self.inside(f"U('{source}', 0).sendto(b'x', {there})")
            self.assertEqual(peer("s.recvfrom(10)")[1][0], source)
        self.inside(f"U().sendto(b'x', {there})")
        self.assertEqual(peer("s.recvfrom(10)")[1][0], HERE)
        ip("addr del 10.1.0.2/24 dev near")
        self.wait_for("U('10.1.0.2', 0) is None", "EADDRNOTAVAIL")

    def test_routes(self):
        self.connect()
        peer = self.peer()
        there = peer(f"(s := U('{FAR}', 0)).getsockname()")
        self.inside(f"U().sendto(b'by a route', {there})")
        self.assertEqual(peer("s.recv(10)"), b"by a route")
        ip("route del 10.2.0.0/16")
        self.wait_for(f"U().sendto(b'x', {there})", "ENETUNREACH")
        ip("addr add 10.1.0.3/32 dev near")
        ip("route add default via", ROUTER, "src 10.1.0.3")
        self.wait_for(f"(s := U()).connect({there}) or s.getsockname()[0]", "10.1.0.3")
        self.inside("s.send(b'by another')")
        self.assertEqual(peer("s.recv(10)"), b"by another")


    def test_rules(self):
        """Which of its tables decides, only the kernel knows: by which way a datagram leaves, and from which address, unless its socket has one."""
        self.connect()
        for address in "10.1.0.3", "10.1.0.4":
            ip(f"addr add {address}/32 dev near")
        self.wait_for("U('10.1.0.4', 0).getsockname()[0]", "10.1.0.4")
        ip("link add nowhere type veth peer name nobody")
        self.addCleanup(ip, "link del nowhere")
        ip("link set nowhere mtu 1100 up")
        ip("route replace 10.2.0.0/16 dev nowhere src", HERE)
        ip("rule add to 10.2.0.0/16 lookup 77")
        self.addCleanup(ip, "rule del to 10.2.0.0/16 lookup 77")
        ip("route add 10.2.0.0/16 via", ROUTER, "src 10.1.0.3 table 77")
        peer = self.peer()
        there = peer(f"(s := U('{FAR}', 0)).getsockname()")
        self.wait_for(f"(s := U()).connect({there}) or s.getsockopt(IPPROTO_IP, {IP_MTU})", 1100)  # our stack has the main table's idea
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
            outside.sendto(b"x", tuple(there))
            self.assertEqual(peer("s.recvfrom(10)")[1][0], "10.1.0.3")
        for opening, source in ("U()", "10.1.0.3"), ("U('0.0.0.0', 0)", "10.1.0.3"), ("U('10.1.0.4', 0)", "10.1.0.4"):
            self.inside(f"s = {opening}; s.sendto(b'by a rule', {there})")
            data, address = peer("s.recvfrom(10)")
            self.assertEqual((data, address[0]), (b"by a rule", source), opening)
            peer(f"s.sendto(b'and back', {address})")
            self.assertEqual(self.inside("s.recvfrom(10)"), (b"and back", there))


class LowPorts(Programs):
    via = "kernel"

    def test_who_dropped_his_privileges_has_none(self):
        """The hub has its starter's, but a program is given no port that it could not have of the kernel."""
        if subprocess.run(["true"], user=65534, check=False).returncode != 0:
            self.skipTest("needs another user's id")
        code, said, complaint = result_of(under(PYTHON, "-c", """
import errno, os, socket
def bind(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try: return s.bind(("127.0.0.1", port))
        except OSError as error: return errno.errorcode[error.errno]
before = bind(80)
os.setgid(65534); os.setuid(65534)
print(before, bind(80), bind(1024), bind(0))""", via=self.via))
        self.assertEqual((code, said), (0, "None EACCES None None\n"), complaint)


class Carries(Network):
    def setUp(self):
        super().setUp()
        self.connect()
        self.there = self.peer()
        self.address = self.there(f"(s := U('{FAR}', 0)).getsockname()")
        self.here = self.inside("(s := U('0.0.0.0', 0)).getsockname()")

    def test_datagrams_of_all_sizes_through_a_router(self):
        self.inside(f"p = U(); p.connect({self.address}); p.send(bytes(1400))")  # is lost, and teaches the path's MTU
        self.wait_for(f"p.getsockopt(IPPROTO_IP, {IP_MTU})", 1200)
        self.there(f"s.setsockopt(IPPROTO_IP, {IP_RECVTTL}, 1)")
        for size in 0, 1, 1172, 1173, 1472, 1473, 9000, 60000, 65507:
            self.inside(f"s.sendto(bytes(i * 13 & 255 for i in range({size})), {self.address})")
            data, control, _, peer = self.there("s.recvmsg(65536, 100)")
            self.assertEqual((data, peer[0]), (bytes(i * 13 & 255 for i in range(size)), HERE))
            self.assertEqual(struct.unpack("i", control[0][2]), (63,))
            self.there(f"s.sendto(bytes({size}), {peer})")
            self.assertEqual(self.inside("s.recvfrom(65536)"), (bytes(size), self.address))

    def test_a_path_with_a_small_mtu(self):
        """A router's word reaches the program: EMSGSIZE, IP_MTU, and the error queue."""
        self.inside(f"s.setsockopt(IPPROTO_IP, {IP_MTU_DISCOVER}, {DO}); s.setsockopt(IPPROTO_IP, {IP_RECVERR}, 1); s.connect({self.address})")
        self.assertEqual(self.inside(f"s.getsockopt(IPPROTO_IP, {IP_MTU})"), 1500)
        self.assertEqual(self.inside("s.send(bytes(1473))"), "EMSGSIZE")
        self.inside("s.recvmsg(1, 1, MSG_ERRQUEUE)")  # of that one
        self.inside("s.send(bytes(1472))")
        self.wait_for(f"s.getsockopt(IPPROTO_IP, {IP_MTU})", 1200)
        control = self.inside("s.recvmsg(2000, 200, MSG_ERRQUEUE)[1]")
        code, origin, kind, subcode, _, mtu = struct.unpack("IBBBBI", control[0][2][:12])
        self.assertEqual((os.strerror(code), origin, kind, subcode, mtu), ("Message too long", 2, 3, 4, 1200))
        self.assertEqual(self.inside("[s.getsockopt(SOL_SOCKET, SO_ERROR), s.send(bytes(1173))]"), "EMSGSIZE")
        self.assertEqual(self.inside("s.send(bytes(1172))"), 1172)
        self.assertEqual(len(self.there("s.recv(2000)")), 1172)

    def test_the_mtu_of_an_interface(self):
        ip("link set near mtu 1300")
        self.inside(f"s.connect(('{ROUTER}', 9))")
        self.wait_for(f"s.getsockopt(IPPROTO_IP, {IP_MTU})", 1300)

    def test_a_closed_port_of_another_host(self):
        self.inside(f"s.connect(('{FAR}', 9)); s.send(b'x')")
        self.assertEqual(self.inside("s.recv(10)"), "ECONNREFUSED")

    def test_a_host_that_is_not_there(self):
        self.inside(f"s.setsockopt(IPPROTO_IP, {IP_RECVERR}, 1); s.connect(('10.1.0.77', 9)); s.send(b'x')")
        self.assertEqual(self.inside("s.recv(10)"), "EHOSTUNREACH")

    def test_a_group_both_ways(self):
        peer, group, port = self.peer(self.router), "239.77.3.4", self.here[1]
        join = "m.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, struct.pack('4s4si', inet_aton('{}'), bytes(4), if_nametoindex('{}')))"
        for agent, interface in (self.inside, "near"), (peer, "toward_near"):
            agent("m = U('0.0.0.0', 7777)")
            self.assertIsNone(agent(join.format(group, interface)))
            agent(f"m.setsockopt(IPPROTO_IP, IP_MULTICAST_IF, struct.pack('4s4si', bytes(4), bytes(4), if_nametoindex('{interface}')))")
        for sender, receiver, address in (self.inside, peer, HERE), (peer, self.inside, ROUTER):
            sender(f"m.sendto(b'to all', ('{group}', 7777))")
            for agent in sender, receiver:
                self.assertEqual(agent("m.recvfrom(10)"), (b"to all", (address, 7777)))
            self.assertIsNone(self.inside("quiet(m)"))
        self.inside(f"m.setsockopt(IPPROTO_IP, IP_MULTICAST_LOOP, 0); m.sendto(b'not here', ('{group}', {port}))")
        self.assertIsNone(self.inside("quiet(m)"))

    def test_a_group_for_this_machine(self):
        """With a TTL of 0 no packet leaves it; its programs hear all the same."""
        peer, group = self.peer(self.router), "239.77.3.5"
        join = "m.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, struct.pack('4s4si', inet_aton('{}'), bytes(4), if_nametoindex('{}')))"
        outside = self.outside()
        for agent, interface in (self.inside, "near"), (outside, "near"), (peer, "toward_near"):
            agent("m = U('0.0.0.0', 7779, reuse=1)")
            self.assertIsNone(agent(join.format(group, interface)))
        for agent in self.inside, outside:
            agent("t = U(); t.setsockopt(IPPROTO_IP, IP_MULTICAST_IF, struct.pack('4s4si', bytes(4), bytes(4), if_nametoindex('near')))")
            for ttl, heard_by_all in (0, False), (1, True):
                agent(f"t.setsockopt(IPPROTO_IP, IP_MULTICAST_TTL, {ttl}); t.sendto(b'%d' % {ttl}, ('{group}', 7779))")
                for member in self.inside, outside:
                    self.assertEqual(member("m.recv(10)"), b"%d" % ttl)
                if heard_by_all:
                    self.assertEqual(peer("m.recv(10)"), b"1")  # and nothing before it
        self.assertIsNone(self.inside("quiet(m)"))

    def test_a_socket_bound_to_a_group(self):
        """It hears by the group's address, and sends from the machine's."""
        peer, group = self.peer(self.router), "239.77.3.6"
        join = "m.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, struct.pack('4s4si', inet_aton('{}'), bytes(4), if_nametoindex('{}')))"
        for agent, interface in (self.inside, "near"), (peer, "toward_near"):
            agent(f"m = U('{group}', 7780)")
            self.assertIsNone(agent(join.format(group, interface)))
            agent(f"m.setsockopt(IPPROTO_IP, IP_MULTICAST_IF, struct.pack('4s4si', bytes(4), bytes(4), if_nametoindex('{interface}')))")
        for sender, address in (self.inside, HERE), (peer, ROUTER):
            sender(f"m.sendto(b'to all', ('{group}', 7780))")
            for agent in self.inside, peer:
                self.assertEqual(agent("m.recvfrom(10)"), (b"to all", (address, 7780)))
                self.assertIsNone(agent("quiet(m)"))

    def test_a_broadcast_both_ways(self):
        peer = self.peer(self.router)
        for agent in self.inside, peer:
            agent("b = U('0.0.0.0', 7778); b.setsockopt(SOL_SOCKET, SO_BROADCAST, 1)")
        for sender, receiver, address in (self.inside, peer, HERE), (peer, self.inside, ROUTER):
            sender("b.sendto(b'everybody', ('10.1.0.255', 7778))")
            for agent in sender, receiver:
                self.assertEqual(agent("b.recvfrom(10)"), (b"everybody", (address, 7778)))
        self.assertIsNone(self.inside("quiet(b)"))


if __name__ == "__main__":
    gannet.require_gannet()
    for program in "nsenter", "sysctl":
        if not shutil.which(program):
            skip(f"there is no {program}(1) here")
    enter_namespace()
    programs.main()
