"""Broadcasts: their forms, who hears them, who may send them."""
import errno

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from wire import EVERYBODY, OURS, OnTheWire

PORT = 5000
FORMS = ("255.255.255.255", "10.7.255.255", "10.7.0.0", "0.0.0.0")


class Broadcasts(OnTheWire):
    def test_every_form_is_recognised(self):
        """P7, U11: all ones, the network's, and both with zeros (RFC 1122 3.3.6); the application learns which."""
        server = self.socket(PORT)
        self.ignores(*(self.station.to_all(dst, PORT, dst.encode()) for dst in FORMS))
        self.assertEqual([(datagram.data.decode(), datagram.local) for datagram in server.receive()], [(dst, (dst, PORT)) for dst in FORMS])

    def test_other_networks_have_others(self):
        """P7: the broadcast address of a part of the network, or of another one, is one host's for us."""
        self.ignores(*(self.station.to_all(dst, PORT) for dst in ("10.7.1.255", "10.255.255.255", "192.0.2.255")), ip_not_for_us=3)

    def test_unicast_for_everybody_is_dropped(self):
        """P8: a link may say it is for all, but the packet is for one."""
        server = self.socket(PORT)
        self.ignores(self.station.to_all(OURS, PORT), self.station.to_all(OURS, 9), ip_unicast_in_broadcast_frame=2)
        self.assertEqual(server.data(), [])

    def test_a_broadcast_in_a_frame_for_one(self):
        """P7: is a broadcast all the same, and nobody is told that its port is closed."""
        server = self.socket(PORT)
        self.ignores(self.station.to_all("10.7.255.255", PORT, b"x", mac=self.wire.mac), self.station.to_all("10.7.255.255", 9, b"x", mac=self.wire.mac),
                     udp_no_socket=1)
        self.assertEqual(server.data(), [b"x"])

    def test_every_socket_gets_a_copy(self):
        """S5: each that is bound to the port and to no other address, or to this one; connected ones from their peer."""
        wild, again, to_all, to_one, connected = (self.socket(reuse_address=1) for _ in range(5))
        for each, ip in ((wild, "0.0.0.0"), (again, "0.0.0.0"), (to_all, "10.7.255.255"), (to_one, OURS), (connected, "0.0.0.0")):
            each.bind(PORT, ip)
        connected.connect((self.station.ip, 4001))
        self.ignores(self.station.to_all("10.7.255.255", PORT, b"hello"))
        self.assertEqual([each.data() for each in (wild, again, to_all, to_one, connected)], [[b"hello"], [b"hello"], [b"hello"], [], []])

    def test_sending_takes_leave(self):
        """P7: EACCES without the option; with it, the frame goes to everybody, and to our own sockets."""
        sender = self.socket(PORT)
        for dst in FORMS[:3]:
            with self.assertRaises(PermissionError) as refused:
                sender.send(b"x", (dst, PORT))
            self.assertEqual(refused.exception.errno, errno.EACCES)
        self.assertEqual(self.wire.answers(), [])
        sender.set("broadcast", 1)
        for dst in FORMS[:3]:
            sender.send(dst.encode(), (dst, PORT))
        sent = [(frame[Ether].dst, frame[IP].src, frame[IP].dst, frame[UDP].dport) for frame in self.wire.answers()]
        self.assertEqual(sent, [(EVERYBODY, OURS, dst, PORT) for dst in FORMS[:3]])
        self.assertEqual(sender.data(), [dst.encode() for dst in FORMS[:3]])

    def test_an_answer_comes_from_one_host(self):
        """B3: never from the broadcast address that was asked."""
        server = self.socket(PORT)
        self.wire.exchange(self.station.to_all("10.7.255.255", PORT, b"anybody?"))
        [asked] = server.receive()
        with self.assertRaises(OSError):
            server.send(b"me", asked.peer, **{"from": asked.local[0]})
        server.send(b"me", asked.peer)
        self.assertEqual([(frame[IP].src, frame[UDP].sport) for frame in self.wire.answers()], [(OURS, PORT)])
