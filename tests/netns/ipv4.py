"""IPv4: what its header must be, what a link may put around a packet, and identifications."""
from scapy.layers.inet import ICMP, IP, UDP, IPOption
from scapy.layers.l2 import LLC, SNAP, Dot1Q, Ether
from scapy.packet import Padding, Raw
from wire import EVERYBODY, OURS, OnTheWire

PORT = 5000
DF = 2


class Ipv4(OnTheWire):
    def test_a_wrong_version_or_checksum_is_dropped_silently(self):
        """P1: at an open port and at a closed one."""
        server = self.socket(PORT)
        wrong_versions = [self.station.udp(port, b"x", version=version) for version in (0, 5, 6, 15) for port in (PORT, 9)]
        wrong_checksums = []
        for bit in range(16):
            frame = bytearray(bytes(self.station.udp(PORT, b"x")))
            frame[24 + bit // 8] ^= 1 << bit % 8
            wrong_checksums.append(bytes(frame))
        self.ignores(*wrong_versions, *wrong_checksums, ip_version_wrong=8, ip_checksum_bad=16)
        self.assertEqual(server.data(), [])

    def test_lengths_that_contradict_the_packet(self):
        """P1, X1: a header shorter than 20 bytes or longer than the packet, a packet longer than the frame."""
        self.ignores(*(self.station.udp(9, b"x", ihl=ihl) for ihl in (0, 1, 4)), *(self.station.udp(9, b"x", len=length) for length in (0, 19)),
                     ip_length_invalid=5)
        self.ignores(*(self.station.udp(9, b"x", len=length) for length in (30, 1500, 65535)), ip_header_truncated=3)
        self.ignores(self.station.udp(9, b"x", ihl=15), ip_length_invalid=1)

    def test_any_ttl_will_do(self):
        """P2: what has arrived has arrived."""
        server = self.socket(PORT)
        self.ignores(*(self.station.udp(PORT, b"x", ttl=ttl) for ttl in (0, 1, 2, 255)))
        self.assertEqual([datagram.ttl for datagram in server.receive()], [0, 1, 2, 255])
        [reply] = self.wire.answers(self.station.to_us(ttl=1) / ICMP() / b"ping")
        self.assertEqual((reply[ICMP].type, reply[IP].ttl), (0, 64))

    def test_options_that_nobody_knows_are_ignored(self):
        """P3: and those that contradict themselves are the end of the packet; a source route is one that we do not follow."""
        server = self.socket(PORT)
        for options in (bytes([0x5e, 4, 1, 2]), b"\1\1\1\0", bytes([0xde, 3, 9, 0]), b"\0\7\7\7"):
            self.ignores(self.station.udp(PORT, options, options=[IPOption(options)]))
            self.assertEqual(server.data(), [options])
        broken = [bytes([0x5e, 40, 1, 2]), bytes([0x5e, 0, 1, 2]), bytes([0x5e, 1, 1, 2]), b"\1\1\1\x5e"]
        self.ignores(*(self.with_raw_options(options) for options in broken), ip_options_malformed=4)
        routes = [bytes([kind, 7, 4, 10, 7, 0, 9, 0]) for kind in (131, 137)]
        self.ignores(*(self.with_raw_options(options) for options in routes), ip_source_route=2)
        self.assertEqual(server.data(), [])

    def with_raw_options(self, options):
        """Options in a header that scapy would make something else of."""
        frame = Ether(bytes(self.station.udp(PORT, b"x")))
        ip = bytes(frame[IP])
        header = bytearray(bytes([0x40 | (20 + len(options)) // 4]) + ip[1:2] + (len(ip) + len(options)).to_bytes(2, "big") + ip[4:10] + b"\0\0" + ip[12:20])
        total = sum(int.from_bytes((bytes(header) + options)[at:at + 2], "big") for at in range(0, 20 + len(options), 2))
        header[10:12] = (0xffff - (total % 0xffff)).to_bytes(2, "big")
        return Ether(src=self.station.mac, dst=self.wire.mac, type=0x800) / Raw(bytes(header) + options + ip[20:])

    def test_padding_is_not_data(self):
        """P5: frames of 60 bytes and more, filled up with junk."""
        server = self.socket(PORT)
        self.wire.exchange(*(self.station.udp(PORT, b"x" * size) / Padding(b"\xaa" * (18 - size)) for size in range(18)))
        self.assertEqual([len(data) for data in server.data()], list(range(18)))
        reply, error = self.wire.answers(self.station.to_us() / ICMP() / Raw(b"ping") / Padding(b"\xaa" * 14), self.station.udp(9) / Padding(b"\xaa" * 18))
        self.assertEqual(bytes(reply[ICMP].payload), b"ping")
        self.assertEqual(error[IP].len, 20 + 8 + 28)

    def test_identifications(self):
        """P6, X9: of packets that may be fragmented, none comes twice, and none tells the next; those that may not be need none."""
        sender, other = self.socket(PORT, pmtu_discovery=0), self.wire.station()
        ids = {self.station.ip: [], other.ip: []}
        for _ in range(200):
            for ip in ids:
                sender.send(b"x", (ip, 7))
        for frame in self.wire.answers():
            self.assertEqual(frame[IP].flags, 0)
            ids[frame[IP].dst].append(frame[IP].id)
        for some in ids.values():
            self.assertEqual((len(some), len(set(some))), (200, 200))
            steps = [(after - before) % 65536 for before, after in zip(some, some[1:])]
            self.assertLess(max(map(steps.count, steps)), 5)
        self.assertNotEqual(*ids.values())
        sender.set("pmtu_discovery", 2)
        sender.send(b"x", (other.ip, 7))
        [atomic] = self.wire.answers()
        self.assertEqual(atomic[IP].flags, DF)

    def test_frames_of_other_kinds(self):
        """P9: LLC/SNAP and a priority tag are read through; another VLAN, another type, another host's frame are not for us."""
        server = self.socket(PORT)
        inside = self.station.udp(PORT, b"x")[IP]
        ether = Ether(src=self.station.mac, dst=self.wire.mac)
        snap = LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(OUI=0, code=0x800) / inside
        llc = Ether(src=self.station.mac, dst=self.wire.mac, type=len(snap)) / Raw(bytes(snap))
        self.ignores(llc, ether / Dot1Q(vlan=0, prio=5) / inside)
        self.assertEqual(server.data(), [b"x", b"x"])
        self.ignores(ether / Dot1Q(vlan=7) / inside, Ether(src=self.station.mac, dst=self.wire.mac, type=0x86dd) / Raw(bytes(40)),
                     Ether(src=self.station.mac, dst="02:00:00:00:77:77") / inside, Ether(src=self.wire.mac, dst=self.wire.mac) / inside,
                     Ether(src=self.station.mac, dst=self.wire.mac, type=1000) / Raw(bytes(60)),
                     ethernet_vlan_unknown=1, ethernet_type_unknown=1, ethernet_not_for_us=1, ethernet_own_frame=1, ethernet_length_invalid=1)
        self.assertEqual(server.data(), [])

    def test_packets_of_other_hosts(self):
        """P7, P8: an address that is not ours is not taken, whatever the frame says."""
        self.ignores(self.station.udp(9, dst="10.7.0.3"), self.station.udp(9, dst="192.0.2.1"), ip_not_for_us=2)
        everybody = self.station.udp(9, dst=OURS)
        everybody[Ether].dst = EVERYBODY
        group = self.station.udp(9, dst=OURS)
        group[Ether].dst = "01:00:5e:00:00:01"
        self.ignores(everybody, group, ip_unicast_in_broadcast_frame=2)

    def test_protocols_that_nobody_speaks(self):
        """I1, I2: protocol unreachable (RFC 1122 3.2.2.1), with the packet quoted."""
        asked = self.station.to_us(proto=253) / Raw(b"what is this?")
        [error] = self.wire.answers(asked)
        self.assertEqual((error[ICMP].type, error[ICMP].code, bytes(error[IP].payload)[8:]), (3, 2, bytes(asked[IP])))
        self.assertNotIn(UDP, error)
