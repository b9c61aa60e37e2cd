"""UDP: headers, checksums, lengths, ports, options, errors."""
import errno

from scapy.layers.inet import ICMP, IP, UDP, IPOption, in4_chksum
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from wire import OURS, OnTheWire

PORT = 5000
RECORD_ROUTE = bytes([7, 11, 4]) + bytes(8) + b"\0"
TIMESTAMPS = bytes([68, 12, 5, 0]) + bytes(8)
UNKNOWN = bytes([0x5e, 4, 1, 2])


def raw_options(data):
    return [IPOption(data)]  # scapy leaves them as they are


def data_of(frame):
    return bytes(frame[UDP].payload)[:frame[UDP].len - 8]


def checksum_is_right(frame):
    ip = frame[IP]
    segment = bytes(ip)[ip.ihl * 4:ip.len]
    return frame[UDP].chksum != 0 and in4_chksum(17, ip, segment[:6] + b"\0\0" + segment[8:]) in (frame[UDP].chksum, 0 if frame[UDP].chksum == 0xffff else None)


class Udp(OnTheWire):
    def sent(self, socket, data, to=None, **chosen):
        """The one frame that this send makes."""
        socket.send(data, to or (self.station.ip, 7), **chosen)
        frames = self.wire.answers()
        self.assertEqual(len(frames), 1, frames)
        return frames[0]

    def test_a_closed_port_is_unreachable(self):
        """U1: the sender is told, from the address it asked, with the packet quoted."""
        asked = self.station.udp(9, b"anybody there?")
        [error] = self.wire.answers(asked)
        self.assertEqual((error[Ether].dst, error[IP].src, error[IP].dst), (self.station.mac, OURS, self.station.ip))
        self.assertEqual((error[ICMP].type, error[ICMP].code), (3, 3))
        self.assertEqual(bytes(error[IP].payload)[8:], bytes(asked[IP]))

    def test_options_that_come_reach_the_application(self):
        """U2, P3: known or not, as they came; without being asked for, none."""
        asks, plain = self.socket(PORT, receive_ip_options=1), self.socket(PORT + 1)
        options = (RECORD_ROUTE, TIMESTAMPS, UNKNOWN, RECORD_ROUTE + TIMESTAMPS + UNKNOWN + UNKNOWN + b"\1\1\1\1\1\1\1\0")
        self.assertEqual(self.wire.answers(*(self.station.udp(port, b"x", options=raw_options(each)) for each in options for port in (PORT, PORT + 1))), [])
        self.assertEqual([datagram.options for datagram in asks.receive()], list(options))
        self.assertEqual([datagram.options for datagram in plain.receive()], [b""] * len(options))

    def test_options_that_the_application_asks_for_go_out(self):
        """U3, U4: byte for byte, padded to four."""
        sender = self.socket(PORT)
        for options in (RECORD_ROUTE, UNKNOWN + b"\1", b"\1" * 39):
            sender.do("options", options.hex())
            frame = self.sent(sender, b"with options")
            self.assertEqual(bytes(frame[IP])[20:frame[IP].ihl * 4], options.ljust(-(-len(options) // 4) * 4, b"\0"))
            self.assertEqual(data_of(frame), b"with options")
            self.assertTrue(checksum_is_right(frame))
        sender.do("options", "-")
        self.assertEqual(self.sent(sender, b"x")[IP].ihl, 5)

    def test_errors_reach_the_application(self):
        """U5: each kind that RFC 1122 4.1.3.3 names, with what it says."""
        sender = self.socket(PORT, receive_errors=1)
        expected = []
        for kind, code, error in ((3, 0, errno.ENETUNREACH), (3, 1, errno.EHOSTUNREACH), (3, 2, errno.ENOPROTOOPT), (3, 3, errno.ECONNREFUSED),
                                  (3, 5, errno.EOPNOTSUPP), (3, 9, errno.ENETUNREACH), (3, 13, errno.EHOSTUNREACH), (11, 0, errno.EHOSTUNREACH),
                                  (11, 1, errno.EHOSTUNREACH), (12, 0, errno.EPROTO)):
            frame = self.sent(sender, b"into the void")
            with self.dropping():
                self.wire.send(self.station.to_us() / ICMP(type=kind, code=code) / Raw(bytes(frame[IP])[:28]))
            expected.append((error, kind, code, 0, (self.station.ip, 7), self.station.ip))
        self.assertEqual([tuple(failure) for failure in sender.failures()], expected)

    def test_datagrams_of_every_small_size_both_ways(self):
        """U6, U9: odd or even, the checksum is there and right, and is taken when it is."""
        server = self.socket(PORT)
        payloads = [bytes(range(1, size + 1)) for size in range(34)] + [bytes(1472), b"\xff" * 1471]
        self.wire.exchange(*(self.station.udp(PORT, data) for data in payloads))
        self.assertEqual(server.data(), payloads)
        for data in payloads:
            server.send(data, (self.station.ip, 4000))
        echoes = self.wire.answers()
        self.assertEqual([data_of(frame) for frame in echoes], payloads)
        self.assertTrue(all(checksum_is_right(frame) for frame in echoes))

    def test_a_wrong_checksum_is_dropped_silently(self):
        """U7: whichever bit it is, at an open port and at a closed one."""
        server = self.socket(PORT)
        good = bytes(self.station.udp(PORT, b"payload"))
        damaged = []
        for byte in range(34, len(good)):  # the UDP header and the data
            if byte not in (38, 39):  # the length is another test's
                frame = bytearray(good)
                frame[byte] ^= 1 << byte % 8
                damaged.append(bytes(frame))
        closed = self.station.udp(9, b"payload", udp={"chksum": 0x1234})
        self.ignores(*damaged, closed, udp_checksum_bad=len(damaged) + 1)
        self.assertEqual(server.data(), [])

    def test_the_checksum_is_optional(self):
        """U8, U10: a socket may send without one, and may refuse what has none."""
        lax, strict = self.socket(PORT, no_checksum=1), self.socket(PORT + 1, require_checksum=1)
        self.assertEqual(self.sent(lax, b"no checksum")[UDP].chksum, 0)
        lax.set("no_checksum", 0)
        self.assertTrue(checksum_is_right(self.sent(lax, b"a checksum")))
        without = {"chksum": 0}
        self.ignores(self.station.udp(PORT, b"x", udp=without), self.station.udp(PORT + 1, b"x", udp=without), self.station.udp(PORT + 1, b"y"),
                     udp_checksum_missing=1)
        self.assertEqual((lax.data(), strict.data()), ([b"x"], [b"y"]))

    def test_the_application_learns_whom_and_how_it_was_asked(self):
        """U11, U19: the address that was asked, TTL and TOS."""
        server = self.socket(PORT)
        self.wire.exchange(self.station.udp(PORT, b"to one", ttl=7, tos=0x2e), self.station.to_all("10.7.255.255", PORT, b"to all", tos=3))
        one, everybody = server.receive()
        self.assertEqual((one.peer, one.local, one.ttl, one.tos), ((self.station.ip, 4000), (OURS, PORT), 7, 0x2e))
        self.assertEqual((everybody.local, everybody.tos), (("10.7.255.255", PORT), 3))

    def test_sources(self):
        """U12, U13, U14, U16: chosen by the application, by the host where it leaves it open, never another host's."""
        bound, wild, connected = self.socket(PORT, OURS), self.socket(PORT + 1), self.socket()
        self.assertEqual(self.sent(bound, b"x")[IP].src, OURS)
        self.assertEqual(self.sent(wild, b"x")[IP].src, OURS)
        self.assertEqual(self.sent(wild, b"x", **{"from": OURS})[IP].src, OURS)
        connected.connect((self.station.ip, 7))
        ip, port = connected.local()
        frame = self.sent(connected, b"x")
        self.assertEqual((ip, port), (frame[IP].src, frame[UDP].sport))
        for foreign in (self.station.ip, "10.7.255.255", "192.0.2.1"):
            with self.assertRaises(OSError):
                wild.send(b"x", (self.station.ip, 7), **{"from": foreign})
            with self.assertRaises(OSError):
                self.socket().bind(PORT + 2, foreign if foreign != "10.7.255.255" else "198.51.100.7")
        self.assertEqual(self.wire.answers(), [])

    def test_ttl_and_tos_of_each_send(self):
        """U18, P2: of the socket, of the datagram, and the default; 0 never leaves."""
        sender = self.socket(PORT)
        frame = self.sent(sender, b"x")
        self.assertEqual((frame[IP].ttl, frame[IP].tos), (64, 0))
        sender.set("ttl", 9)
        sender.set("tos", 0xb8)
        frame = self.sent(sender, b"x")
        self.assertEqual((frame[IP].ttl, frame[IP].tos), (9, 0xb8))
        frame = self.sent(sender, b"x", ttl=255, tos=2)
        self.assertEqual((frame[IP].ttl, frame[IP].tos), (255, 2))
        with self.assertRaises(OSError):
            sender.send(b"x", (self.station.ip, 7), ttl=0)
        self.assertEqual(self.wire.answers(), [])

    def test_a_checksum_of_zero_is_sent_as_ones(self):
        """U20: and is taken so."""
        sender = self.socket(PORT)
        as_computed = self.sent(sender, b"\0\0")[UDP].chksum  # data that adds it to the sum makes that all ones
        data = as_computed.to_bytes(2, "big")
        self.assertEqual(self.sent(sender, data)[UDP].chksum, 0xffff)
        answer = Ether(bytes(self.station.udp(PORT, b"\0\0")))
        data = answer[UDP].chksum.to_bytes(2, "big")
        self.wire.exchange(self.station.udp(PORT, data, udp={"chksum": 0xffff}))
        self.assertEqual(sender.data(), [data])

    def test_length_bounds_the_datagram(self):
        """U21, X1: below 8 or beyond the packet it is dropped and no error is told; short of the packet's end, the rest is no data."""
        server = self.socket(PORT)
        data = b"twelve bytes"
        wrong = [self.station.udp(port, data, udp={"len": length, "chksum": 0}) for port in (PORT, 9) for length in (0, 1, 7, 21, 1000, 65535)]
        cut = [self.station.to_us(proto=17) / Raw(bytes(UDP(sport=4000, dport=PORT, len=8, chksum=0))[:size]) for size in range(8)]
        self.ignores(*wrong, *cut, udp_length_invalid=12, udp_header_truncated=8)
        self.assertEqual(server.data(), [])
        short = [self.station.udp(PORT, data, udp={"len": length, "chksum": 0}) for length in (8, 9, 19, 20)]
        # A checksum covers what Length says, and nothing behind it.
        covered = Ether(bytes(self.station.udp(PORT, b"covered")))
        short.append(self.station.udp(PORT, b"covered" + b"surplus", udp={"len": 15, "chksum": covered[UDP].chksum}))
        self.ignores(*short)
        self.assertEqual(server.data(), [b"", b"t", data[:11], data, b"covered"])

    def test_no_data_and_no_source_port(self):
        """U22, B4: both are taken; to port 0 nothing is sent, and what comes for it finds nobody."""
        server = self.socket(PORT)
        self.ignores(self.station.udp(PORT, b""), self.station.udp(PORT, b"no answer, please", sport=0))
        first, second = server.receive()
        self.assertEqual((first.data, second.data, second.peer), (b"", b"no answer, please", (self.station.ip, 0)))
        with self.assertRaises(OSError) as refused:
            server.send(b"x", (self.station.ip, 0))
        self.assertEqual(refused.exception.errno, errno.EINVAL)
        with self.dropping(udp_no_socket=1):
            self.wire.send(self.station.udp(0, b"x"))

    def test_ports_that_the_host_chooses(self):
        """S4, X9, B4: from 1024 up, none twice, and none tells the next."""
        ports = []
        for _ in range(128):
            each = self.socket()
            each.connect((self.station.ip, 7))
            ports.append(each.local()[1])
        self.assertGreaterEqual(min(ports), 1024)
        self.assertEqual(len(set(ports)), len(ports))
        steps = [after - before for before, after in zip(ports, ports[1:])]
        self.assertLess(max(map(steps.count, steps)), 4)
        self.assertGreater(max(ports) - min(ports), 32768)

    def test_the_most_specific_socket_receives(self):
        """S5: connected before bound to an address before bound to none; one of them only."""
        wild, bound, connected = self.socket(), self.socket(), self.socket()
        for each, ip in ((wild, "0.0.0.0"), (bound, OURS), (connected, OURS)):
            each.set("reuse_address", 1)
            each.bind(PORT, ip)
        connected.connect((self.station.ip, 4000))
        self.wire.exchange(self.station.udp(PORT, b"from the peer"), self.station.udp(PORT, b"from another", sport=4001))
        self.assertEqual((wild.data(), bound.data(), connected.data()), ([], [b"from another"], [b"from the peer"]))
        self.opened.remove(bound)
        bound.close()
        self.wire.exchange(self.station.udp(PORT, b"again", sport=4001))
        self.assertEqual((wild.data(), connected.data()), ([b"again"], []))

    def test_a_connected_socket_hears_its_peer_only(self):
        """B5: not another port, not another host."""
        connected, stranger = self.socket(PORT), self.wire.station()
        connected.connect((self.station.ip, 4000))
        with self.dropping(udp_wrong_peer=2):
            errors = self.wire.answers(self.station.udp(PORT, b"peer"), self.station.udp(PORT, b"x", sport=4001), stranger.udp(PORT, b"x"))
        self.assertEqual([(error[IP].dst, error[ICMP].type, error[ICMP].code) for error in errors], [(self.station.ip, 3, 3), (stranger.ip, 3, 3)])
        self.assertEqual(connected.data(), [b"peer"])

    def test_replies_come_from_the_address_that_was_asked(self):
        """B3: and from the port."""
        server = self.socket(PORT)
        self.wire.exchange(self.station.udp(PORT, b"x", sport=1234))
        [asked] = server.receive()
        frame = self.sent(server, b"y", asked.peer, **{"from": asked.local[0]})
        self.assertEqual((frame[IP].src, frame[UDP].sport, frame[IP].dst, frame[UDP].dport), (OURS, PORT, self.station.ip, 1234))

    def test_errors_are_hints(self):
        """B6: a refused datagram fails one call of a connected socket, and the next goes out."""
        sender = self.socket(PORT, receive_errors=0)
        sender.connect((self.station.ip, 7))
        frame = self.sent_to_peer(sender)
        self.wire.exchange(self.station.to_us() / ICMP(type=3, code=3) / Raw(bytes(frame[IP])))
        with self.assertRaises(ConnectionRefusedError):
            sender.send(b"x")
        self.sent_to_peer(sender)

    def sent_to_peer(self, socket):
        socket.send(b"to the peer")
        [frame] = self.wire.answers()
        return frame
