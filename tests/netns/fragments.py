"""Fragments: put together in any order, refused where they contradict each other, made as they should be."""
import errno
import itertools

from scapy.layers.inet import ICMP, IP, UDP, IPOption, in4_chksum
from scapy.packet import Raw
from wire import OURS, OnTheWire

PORT = 5000
MF, DF = 1, 2


class Fragments(OnTheWire):
    def setUp(self):
        super().setUp()
        self.server = self.socket(PORT)

    def cut(self, data, *ends, sport=4000, station=None, **ip):
        """The fragments of a datagram, cut at these offsets of its IP payload."""
        station = station or self.station
        whole = bytes(IP(src=station.ip, dst=OURS) / UDP(sport=sport, dport=PORT) / Raw(data))[20:]
        number = self.wire.next_id()
        edges = [0, *ends, len(whole)]
        return [self.piece(number, begin, whole[begin:end], end < len(whole), station, **ip) for begin, end in itertools.pairwise(edges)]

    def piece(self, number, begin, data, more, station=None, **ip):
        return (station or self.station).to_us(**{"id": number, "frag": begin // 8, "flags": MF if more else 0, "proto": 17} | ip) / Raw(data)

    def test_any_order(self):
        """F1: all permutations of four."""
        orders = list(itertools.permutations(range(4)))
        for order in orders:
            data = bytes(order) * 20
            pieces = self.cut(data, 16, 40, 72)
            self.wire.send(*(pieces[i] for i in order))
        self.wire.settle()
        self.assertEqual(self.server.data(), [bytes(order) * 20 for order in orders])

    def test_sizes(self):
        """F1: up to the largest datagram there is; backwards, too."""
        for size in (1, 568, 1473, 2952, 65507):
            data = bytes(i * 7 & 255 for i in range(size))
            pieces = self.cut(data, *range(1480, size + 8, 1480)) if size > 1472 else self.cut(data, 8)
            self.ignores(*pieces)
            self.assertEqual(self.server.data(), [data])
            self.ignores(*reversed(pieces))
            self.assertEqual(self.server.data(), [data])

    def test_tiny_fragments(self):
        """F1, X5: eight bytes each."""
        data = bytes(range(200))
        self.ignores(*self.cut(data, *range(8, 208, 8)))
        self.assertEqual(self.server.data(), [data])

    def test_datagrams_that_interleave(self):
        """F1: a datagram is told by source, destination, protocol and identification."""
        other = self.wire.station()
        mine, its = self.cut(b"m" * 100, 24, 64), self.cut(b"i" * 100, 24, 64, station=other)
        for one, another in zip(mine, its):
            another[IP].id = one[IP].id
        self.ignores(*(piece for pair in zip(mine, its) for piece in pair))
        self.assertEqual([(datagram.peer[0], datagram.data[:1]) for datagram in self.server.receive()], [(self.station.ip, b"m"), (other.ip, b"i")])

    def test_options_of_the_first_fragment_come_with_the_datagram(self):
        """F1, U2: those of the others do not."""
        self.server.set("receive_ip_options", 1)
        pieces = self.cut(b"x" * 64, 32)
        pieces[0][IP].options = [IPOption(bytes([0x5e, 4, 1, 2]))]
        self.ignores(*pieces)
        self.assertEqual([(each.data, each.options) for each in self.server.receive()], [(b"x" * 64, bytes([0x5e, 4, 1, 2]))])

    def test_an_exact_copy_changes_nothing(self):
        """F4, X5: and is not charged."""
        first, second, third = self.cut(b"x" * 64, 16, 40)
        self.ignores(first, first, third, third, third, second, fragment_duplicate=3)
        self.assertEqual(self.server.data(), [b"x" * 64])

    def test_overlaps_are_the_end_of_the_datagram(self):
        """F4: teardrop, overlap by one unit from either side, one around another, the same place and another end."""
        whole = bytes(200)
        for held, added in (((0, 64), (8, 16)), ((0, 64), (56, 120)), ((64, 128), (8, 72)), ((64, 72), (56, 80)), ((0, 64), (0, 72)), ((0, 64), (0, 56))):
            number = self.wire.next_id()
            pieces = [self.piece(number, begin, whole[begin:end], True) for begin, end in (held, added)]
            self.ignores(*pieces, fragment_overlap=2)
        self.assertEqual(self.server.data(), [])

    def test_ends_that_contradict_each_other(self):
        """F4: data behind the last fragment, two last ones, a last one before what is there."""
        for held, added in (((64, 80, False), (80, 96, True)), ((64, 80, False), (80, 88, False)), ((64, 80, True), (16, 24, False))):
            number = self.wire.next_id()
            pieces = [self.piece(number, begin, bytes(end - begin), more) for begin, end, more in (held, added)]
            self.ignores(*pieces, fragment_malformed=2)

    def test_impossible_fragments(self):
        """X1: a length that is no multiple of eight, nothing at all, an end beyond 65,535 (the ping of death)."""
        number = self.wire.next_id
        self.ignores(*(self.piece(number(), 0, bytes(size), True) for size in (1, 7, 9, 15)), fragment_malformed=4)
        self.ignores(self.piece(number(), 0, b"", True), self.piece(number(), 64, b"", True), self.piece(number(), 64, b"", False), fragment_malformed=3)
        self.ignores(self.piece(number(), 65528, bytes(8), False), self.piece(number(), 65120, bytes(1480), False),
                     self.piece(number(), 65528, bytes(800), True), fragment_malformed=3)
        death = [self.piece(7, begin, bytes(1480), begin + 1480 < 66600, proto=1) for begin in range(0, 66600, 1480)]
        self.wire.answers(*death)
        self.assertEqual(self.wire.answers(self.station.udp(PORT, b"alive")), [])
        self.assertEqual(self.server.data(), [b"alive"])

    def test_headers_and_options_that_grow_too_large(self):
        """X1: fragments that fit one by one, but not together behind the first one's header."""
        first = self.piece(77, 0, bytes(1440), True, options=[IPOption(b"\1" * 40)])
        rest = [self.piece(77, begin, bytes(min(1480, 65512 - begin)), begin + 1480 < 65512) for begin in range(1440, 65512, 1480)]
        self.ignores(first, *rest, fragment_malformed=1 + len(rest))

    def test_a_late_fragment_is_not_answered(self):
        """I1, F2: nothing about a fragment that is not the first, nor before all have come."""
        self.ignores(self.station.to_us(id=self.wire.next_id(), frag=10, proto=253) / Raw(bytes(64)),
                     self.station.to_us(id=self.wire.next_id(), flags=MF, proto=253) / Raw(bytes(64)))

    def test_a_whole_datagram_to_a_closed_port_is_answered(self):
        """U1, I2: the quote is of the datagram as it was put together."""
        whole = bytes(IP(src=self.station.ip, dst=OURS) / UDP(sport=4000, dport=9) / Raw(bytes(2000)))[20:]
        number = self.wire.next_id()
        [error] = self.wire.answers(self.piece(number, 1480, whole[1480:], False), self.piece(number, 0, whole[:1480], True))
        self.assertEqual((error[ICMP].type, error[ICMP].code, error[IP].len), (3, 3, 576))
        self.assertEqual(bytes(error[IP].payload)[28:], whole[:576 - 48])

    def test_congestion_experienced_survives(self):
        """F10: with Not-ECT among them, there is no datagram."""
        not_ect, ect1, ect0, ce = range(4)
        for marks, result in (((ect0, ce), ce), ((ce, ect0, ect0), ce), ((ect1, ect1, ce), ce), ((ce, ce), ce), ((not_ect, not_ect), not_ect), ((ect0, ect0), ect0)):
            pieces = self.cut(b"x" * 64, *(8 * i for i in range(1, len(marks))))
            for piece, mark in zip(pieces, marks):
                piece[IP].tos = 0xb8 | mark
            self.ignores(*pieces)
            self.assertEqual([datagram.tos for datagram in self.server.receive()], [0xb8 | result])
        for marks in ((not_ect, ce), (ce, not_ect), (ect0, not_ect, ce)):
            pieces = self.cut(b"x" * 64, *(8 * i for i in range(1, len(marks))))
            for piece, mark in zip(pieces, marks):
                piece[IP].tos = mark
            self.ignores(*pieces, fragment_ecn_inconsistent=len(marks))
        self.assertEqual(self.server.data(), [])

    def test_one_source_cannot_hurt_another(self):
        """X5: whatever one holds back, another's datagrams get through; and its own newest do."""
        other = self.wire.station()
        first, second = self.cut(b"y" * 64, 32, station=other)
        self.wire.send(first)
        flood = [self.piece(number, 0, bytes(64), True) for number in range(20000, 20600)]
        before = self.host.drops().get("fragment_table_full", 0)
        self.assertEqual(self.wire.answers(*flood), [])
        dropped = self.host.drops().get("fragment_table_full", 0) - before
        self.assertGreater(dropped, 400)
        self.ignores(second, *self.cut(b"z" * 64, 32), fragment_table_full=1)
        self.assertEqual(self.server.data(), [b"y" * 64, b"z" * 64])

    def test_fragments_that_we_make(self):
        """F8, P6: in order, without overlap, each but the last filled to a multiple of eight, of one identification that no other datagram has."""
        self.server.set("pmtu_discovery", 0)
        ids = []
        for size in (1473, 1480, 2952, 2953, 8192, 65507):
            data = bytes(i * 11 & 255 for i in range(size))
            self.server.send(data, (self.station.ip, 7))
            frames = [frame[IP] for frame in self.wire.answers()]
            self.assertEqual({ip.id for ip in frames}, {frames[0].id})
            ids.append(frames[0].id)
            payload = b""
            for ip in frames:
                self.assertEqual((ip.frag * 8, ip.flags, ip.ttl), (len(payload), MF if ip is not frames[-1] else 0, 64))
                self.assertEqual(ip.len, 1500 if ip is not frames[-1] else 20 + len(ip.payload))
                payload += bytes(ip.payload)
            self.assertEqual(payload[8:], data)
            self.assertEqual(in4_chksum(17, IP(src=OURS, dst=self.station.ip), payload[:6] + b"\0\0" + payload[8:]), int.from_bytes(payload[6:8], "big"))
        self.assertEqual(len(set(ids)), len(ids))

    def test_options_in_fragments(self):
        """F8: those with the copied bit are in each, others in the first only (RFC 791 3.1)."""
        copied, once = bytes([0xde, 4, 1, 2]), bytes([0x5e, 4, 3, 4])
        self.server.do("options", (once + copied).hex())
        self.server.set("pmtu_discovery", 0)
        self.server.send(bytes(4000), (self.station.ip, 7))
        headers = [bytes(frame[IP])[20:frame[IP].ihl * 4] for frame in self.wire.answers()]
        self.assertEqual(headers, [once + copied, copied, copied])

    def test_what_must_not_be_fragmented_is_not(self):
        """F11, B1: a socket that says so gets EMSGSIZE, and DF on what fits."""
        for discovery in (2, 3):
            self.server.set("pmtu_discovery", discovery)
            with self.assertRaises(OSError) as refused:
                self.server.send(bytes(1473), (self.station.ip, 7))
            self.assertEqual(refused.exception.errno, errno.EMSGSIZE)
            self.server.send(bytes(1472), (self.station.ip, 7))
            self.assertEqual([(frame[IP].flags, frame[IP].len) for frame in self.wire.answers()], [(DF, 1500)])
        for discovery, flags in ((1, DF), (0, 0)):  # Linux's default, and none at all
            self.server.set("pmtu_discovery", discovery)
            self.server.send(bytes(1472), (self.station.ip, 7))
            self.server.send(bytes(1473), (self.station.ip, 7))
            self.assertEqual([int(frame[IP].flags) for frame in self.wire.answers()], [flags, MF, 0])
