"""What nobody should send: martians, land, floods, and noise."""
import errno
import random
import time

from scapy.contrib.igmpv3 import IGMPv3, IGMPv3mq
from scapy.layers.inet import ICMP, IP, IPOption
from scapy.packet import Raw
from wire import OURS, OnTheWire

PORT = 5000


class Hostile(OnTheWire):
    def test_sources_that_no_packet_may_have(self):
        """U15, X2, X3: groups, broadcast addresses, loopback, nobody, this network, reserved ones; at an open port, a closed one, as an echo."""
        server = self.socket(PORT)
        sources = ("224.0.0.1", "239.255.255.255", "255.255.255.255", "10.7.255.255", "10.7.0.0", "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3",
                   "240.0.0.1", "255.255.255.254")
        for src in sources:
            self.ignores(self.station.udp(PORT, src=src), self.station.udp(9, src=src), self.station.to_us(src=src) / ICMP(), ip_source_invalid=3)
        self.assertEqual(server.data(), [])

    def test_destinations_that_no_packet_may_have(self):
        """X2, X3: loopback and reserved addresses do not come from a wire, nor leave by it."""
        server = self.socket(PORT)
        destinations = ("127.0.0.1", "127.1.2.3", "127.255.255.255", "240.0.0.1", "255.255.255.254", "0.0.0.1")
        self.ignores(*(self.station.udp(PORT, dst=dst) for dst in destinations), ip_destination_invalid=len(destinations))
        server.send(b"to ourselves", ("127.0.0.1", PORT))
        server.send(b"to ourselves", (OURS, PORT))
        self.assertEqual(self.wire.exchange(), [])
        self.assertEqual(server.data(), [b"to ourselves"] * 2)
        with self.assertRaises(OSError) as refused:
            server.send(b"x", (self.station.ip, 7), **{"from": "127.0.0.1"})
        self.assertEqual(refused.exception.errno, errno.EINVAL)
        self.assertEqual(self.wire.exchange(), [])

    def test_land(self):
        """X4: our own address as the source is a lie, whatever is in the packet."""
        server = self.socket(PORT)
        self.ignores(self.station.udp(PORT, sport=PORT, src=OURS), self.station.udp(9, src=OURS), self.station.to_us(src=OURS) / ICMP(), ip_source_is_ours=3)
        self.assertEqual(server.data(), [])

    def test_nobody_multiplies_a_flood(self):
        """X8: an echo request for everybody or a group is not answered, nor is what has such a source."""
        broadcasts = [self.station.to_all(dst, 7) for dst in ("255.255.255.255", "10.7.255.255", "10.7.0.0")]
        everybody = [frame.copy() for frame in broadcasts] + [self.station.to_all("224.0.0.1", 7, mac="01:00:5e:00:00:01")]
        for frame in everybody:
            frame[IP].remove_payload()
            frame[IP].add_payload(ICMP() / b"echo")
            frame[IP].proto = 1
        self.ignores(*everybody, icmp_echo_broadcast=4)

    def test_every_length_is_checked(self):
        """X1: frames cut at every byte, and with bytes behind their end."""
        server = self.socket(PORT)
        whole = bytes(self.station.udp(PORT, b"payload", options=[IPOption(bytes([7, 7, 4, 0, 0, 0, 0, 0]))]))
        with self.dropping(ip_header_truncated=len(whole) - 14):
            self.assertEqual(self.wire.answers(*(whole[:size] for size in range(14, len(whole)))), [])
        self.ignores(*(whole + bytes(more) for more in (0, 1, 8, 500)))
        self.assertEqual(server.data(), [b"payload"] * 4)

    def test_errors_to_one_destination_are_limited(self):
        """X7: a few at once, then one a second."""
        begun = time.monotonic()
        limited = self.host.counter("icmp_out_limited")
        answers = self.wire.answers(*(self.station.udp(9) for _ in range(200)))
        self.assertGreaterEqual(len(answers), 1)
        self.assertLessEqual(len(answers), 6 + 1 + (time.monotonic() - begun))
        self.assertEqual(self.host.counter("icmp_out_limited") - limited, 200 - len(answers))
        self.assertEqual(len(self.wire.answers(self.station.to_us() / ICMP() / b"still there?")), 1)

    def test_errors_to_all_are_limited(self):
        """X7: a thousand a second, fifty at once."""
        everybody = [self.wire.station() for _ in range(240)]
        self.wire.settle()
        frames = [bytes(station.udp(9)) for station in everybody]
        begun = time.monotonic()
        answers = self.wire.answers(*frames)
        self.assertGreaterEqual(len(answers), 20)
        self.assertLessEqual(len(answers), 100 + 1200 * (time.monotonic() - begun))


class Noise(OnTheWire):
    """Its host hears much that leaves traces; so it is a host of its own."""

    def test_random_changes_to_frames(self):
        """X1, X13: whatever bits change, in whatever is sent, the host lives and answers; with sanitizers it says what it did wrong."""
        server = self.socket(PORT, receive_ip_options=1)
        server.join("239.3.0.1")
        server.connect((self.station.ip, 4000))
        server.send(b"to be quoted")
        [sent] = self.wire.answers()
        headers = self.station.to_us(ttl=1, options=[IPOption(bytes([148, 4, 0, 0]))], proto=2)
        alive = [self.station.udp(PORT, b"payload", options=[IPOption(bytes([68, 12, 5, 0]) + bytes(8))]),
                 self.station.to_us() / ICMP(type=3, code=4, nexthopmtu=1000) / Raw(bytes(sent[IP])),
                 self.station.to_us() / ICMP() / b"echo", self.station.arp(), self.station.arp(op=2),
                 headers / Raw(bytes(IGMPv3(type=0x11, mrcode=1) / IGMPv3mq(gaddr="239.3.0.1", srcaddrs=["192.0.2.1", "192.0.2.2"]))),
                 self.station.udp(PORT, bytes(64), flags=1), self.station.to_us(frag=9, proto=17) / Raw(bytes(64))]
        chance = random.Random(9868)
        noise = []
        for _ in range(1500):
            frame = chance.choice(alive).copy()
            if IP in frame and chance.random() < 0.7:  # so that the change is behind the checksum of the header, which would catch it
                ip = frame[IP]
                for _ in range(chance.randrange(3)):
                    field, most = chance.choice((("len", 2000), ("id", 9), ("frag", 8191), ("flags", 7), ("ttl", 255), ("proto", 255), ("tos", 255), ("ihl", 15)))
                    setattr(ip, field, chance.randrange(most + 1))
            changed = bytearray(bytes(frame))
            for _ in range(chance.randrange(4)):
                changed[chance.randrange(34 if IP in frame else 12, len(changed))] = chance.randrange(256)
            noise.append(bytes(changed[:chance.randrange(14, len(changed) + 1)] if chance.random() < 0.2 else changed))
        self.wire.exchange(*noise)
        server.failures()
        server.receive()
        self.wire.exchange(self.station.arp(), self.station.udp(PORT, b"alive"))
        self.assertEqual(server.data()[-1:], [b"alive"])
        echo = self.wire.answers(self.station.to_us() / ICMP() / b"alive")
        self.assertEqual([bytes(frame[ICMP].payload) for frame in echo], [b"alive"])
