"""ICMP: what is answered, what is told of whom, what is believed."""
import errno

from scapy.layers.inet import ICMP, IP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum
from wire import EVERYBODY, OURS, OnTheWire

PORT = 5000
DF = 2


class Icmp(OnTheWire):
    def sent_to_peer(self, socket, size=32):
        socket.send(bytes(size))
        [frame] = self.wire.answers()
        return frame[IP]

    def error(self, quote, kind=3, code=3, size=None, station=None, **fields):
        """What a router says of a packet of ours."""
        return (station or self.station).to_us() / ICMP(type=kind, code=code, **fields) / Raw(bytes(quote)[:size])

    def connected(self, **options):
        socket = self.socket(PORT, **options)
        socket.connect((self.station.ip, 7))
        return socket

    def test_echoes(self):
        """I5: the same data, identification and sequence, from the address that was asked, of every size."""
        for size in (0, 1, 56, 57, 1472):
            data = bytes(i & 255 for i in range(size))
            [reply] = self.wire.answers(self.station.to_us(tos=0x20) / ICMP(id=0x1234, seq=size) / Raw(data))
            self.assertEqual((reply[IP].src, reply[IP].dst, reply[IP].ttl, reply[IP].tos), (OURS, self.station.ip, 64, 0x20))
            self.assertEqual((reply[ICMP].type, reply[ICMP].code, reply[ICMP].id, reply[ICMP].seq), (0, 0, 0x1234, size))
            self.assertEqual(bytes(reply[ICMP].payload), data)
            self.assertEqual(checksum(bytes(reply[IP].payload)), 0)

    def test_an_echo_in_fragments(self):
        """I5, F1: comes back in fragments."""
        message = bytes(ICMP(id=1, seq=2) / Raw(bytes(5000)))
        number = self.wire.next_id()
        pieces = [self.station.to_us(id=number, frag=begin // 8, flags=1 if begin + 1480 < len(message) else 0, proto=1) / Raw(message[begin:begin + 1480])
                  for begin in range(0, len(message), 1480)]
        replies = self.wire.answers(*pieces)
        self.assertEqual([frame[IP].frag * 8 for frame in replies], [0, 1480, 2960, 4440])
        back = b"".join(bytes(frame[IP].payload) for frame in replies)
        self.assertEqual((back[0], back[4:], checksum(back)), (0, message[4:], 0))

    def test_messages_that_are_damaged(self):
        """I4: a wrong checksum, too few bytes."""
        self.ignores(self.station.to_us() / ICMP(chksum=1), self.station.to_us() / ICMP(type=3, code=3, chksum=1) / Raw(bytes(28)), icmp_checksum_bad=2)
        self.ignores(*(self.station.to_us(proto=1) / Raw(b"\x08\0\xf7\xff\0\0\0"[:size]) for size in range(8)), icmp_truncated=8)

    def test_messages_that_ask_for_nothing(self):
        """I4, I6: unknown types, source quench, redirects, replies, timestamp and mask requests are not answered."""
        kinds = (0, 1, 2, 4, 5, 6, 7, 9, 10, 13, 14, 15, 16, 17, 18, 30, 40, 255)
        self.ignores(*(self.station.to_us(proto=1) / Raw(message_of(kind)) for kind in kinds), icmp_type_unknown=len(kinds))

    def test_source_quench_changes_nothing(self):
        """I6: no error, no pause; and we never send one."""
        socket = self.connected()
        quote = self.sent_to_peer(socket)
        self.ignores(self.error(quote, 4, 0), icmp_type_unknown=1)
        self.assertEqual(socket.failures(), [])
        self.sent_to_peer(socket)

    def test_nobody_is_told_where_it_is_forbidden(self):
        """I1, X8: nothing about ICMP errors, broadcasts, groups, frames for everybody, later fragments, sources that are not one host."""
        quote = bytes(IP(src=OURS, dst=self.station.ip) / UDP(sport=9, dport=9))
        errors = [self.station.to_us() / ICMP(type=kind, code=code) / Raw(quote) for kind, code in ((3, 3), (3, 2), (11, 0), (12, 0))]
        self.ignores(*errors, icmp_no_socket=4)
        strange = Raw(bytes(16))
        for dst in ("255.255.255.255", "10.7.255.255", "10.7.0.0", "224.0.0.1"):
            everybody = "01:00:5e:00:00:01" if dst == "224.0.0.1" else EVERYBODY
            unknown = Ether(src=self.station.mac, dst=everybody) / IP(src=self.station.ip, dst=dst, proto=253, id=1) / strange
            self.ignores(self.station.to_all(dst, 9, mac=everybody), unknown, udp_no_socket=1, ip_protocol_unknown=1)
        self.ignores(self.station.udp(9, frag=100), self.station.to_us(proto=253, frag=100) / strange)
        for src in ("0.0.0.0", "255.255.255.255", "10.7.255.255", "224.0.0.1", "127.0.0.1", "240.0.0.1"):
            self.ignores(self.station.udp(9, src=src), self.station.to_us(src=src, proto=253) / strange, ip_source_invalid=2)

    def test_queries_may_be_told_of(self):
        """I1: an echo request with options in a protocol we know is no error; an unknown protocol is told of again and again."""
        for _ in range(3):
            self.assertEqual([frame[ICMP].code for frame in self.wire.answers(self.station.to_us(proto=99) / Raw(b"?"))], [2])

    def test_quotes(self):
        """I2: the whole packet while the message stays within 576 bytes, header and options included; what is quoted is what came."""
        for size in (0, 1, 100, 519, 520, 521, 1472):
            asked = self.wire.station().udp(9, bytes(i & 255 for i in range(size)), tos=0x28, ttl=9, flags=DF)
            [error] = self.wire.answers(asked)
            ip = bytes(asked[IP])
            self.assertEqual(error[IP].len, min(576, 28 + len(ip)))
            self.assertEqual(bytes(error[IP].payload)[8:], ip[:548])
            self.assertEqual(bytes(error[IP].payload)[4:8], bytes(4))
            self.assertEqual(checksum(bytes(error[IP].payload)), 0)
        asked = self.wire.station().udp(9, bytes(8), options=[IPOption(b"\1" * 40)])
        [error] = self.wire.answers(asked)
        self.assertEqual(bytes(error[IP].payload)[8:], bytes(asked[IP]))

    def test_errors_are_believed_of_what_was_sent_only(self):
        """X6, M3, B6: not of another port, peer, protocol or source, not of a later fragment, not of less than a header and eight bytes."""
        socket = self.connected()
        quote = self.sent_to_peer(socket)
        stranger = self.wire.station()
        forged = [changed(quote, sport=PORT + 1), changed(quote, dport=8), changed(quote, src=stranger.ip), changed(quote, dst=stranger.ip),
                  changed(quote, proto=6), changed(quote, frag=1)]
        self.ignores(*(self.error(each) for each in forged), icmp_no_socket=len(forged))
        self.ignores(*(self.error(quote, size=size) for size in (0, 1, 19, 20, 27)), icmp_truncated=5)
        self.ignores(self.error(b"\x60" + bytes(quote)[1:]), self.error(b"\x41" + bytes(quote)[1:]), icmp_quote_malformed=2)
        self.assertEqual(socket.failures(), [])
        self.ignores(self.error(quote, size=28))
        self.assertEqual([(failure.error, failure.offender) for failure in socket.failures()], [(errno.ECONNREFUSED, self.station.ip)])
        self.ignores(self.error(quote, 3, 1, station=stranger))  # a router on the way
        self.assertEqual([(failure.error, failure.offender) for failure in socket.failures()], [(errno.EHOSTUNREACH, stranger.ip)])

    def test_quotes_with_options_and_of_fragments(self):
        """U5, X6: an error is about the socket whatever its packet looked like: with forty bytes of options, or the first of many fragments."""
        socket = self.connected()
        socket.do("options", (b"\1" * 40).hex())
        quote = self.sent_to_peer(socket)
        self.ignores(self.error(quote, size=60), icmp_truncated=1)
        self.ignores(self.error(quote, size=68))
        self.assertEqual([failure.error for failure in socket.failures()], [errno.ECONNREFUSED])
        socket.do("options", "-")
        socket.set("pmtu_discovery", 0)
        socket.send(bytes(3000))
        first, second, _ = (frame[IP] for frame in self.wire.answers())
        self.ignores(self.error(second, size=28), icmp_no_socket=1)
        self.ignores(self.error(first, 11, 1, size=28))
        self.assertEqual([(failure.error, failure.type, failure.code) for failure in socket.failures()], [(errno.EHOSTUNREACH, 11, 1)])

    def test_an_error_about_a_socket_that_is_gone(self):
        """X6: it is nobody's."""
        socket = self.connected()
        quote = self.sent_to_peer(socket)
        self.opened.remove(socket)
        socket.close()
        self.ignores(self.error(quote), icmp_no_socket=1)

    def test_the_path_mtu_is_learned(self):
        """B1, M3, M4: from a router, also from an old one that does not say it; not below 552, and never raised."""
        for said, expected in ((1400, 1400), (600, 600), (68, 552), (0, 1492), (1, 552)):
            station = self.station = self.wire.station()
            socket = self.socket(None, pmtu_discovery=2)
            socket.connect((station.ip, 7))
            quote = self.sent_to_peer(socket, 1472)
            self.wire.exchange(self.error(changed(quote, sport=1), 3, 4, size=28, nexthopmtu=1000))
            self.assertEqual(socket.get("mtu"), 1500)
            self.wire.exchange(self.error(quote, 3, 4, size=28, nexthopmtu=said))
            self.assertEqual(socket.get("mtu"), expected, said)
            self.wire.exchange(self.error(quote, 3, 4, size=28, nexthopmtu=1500))
            self.assertEqual(socket.get("mtu"), expected)
            socket.failures()
            self.obeys(socket, expected)

    def obeys(self, socket, mtu):
        with self.assertRaises(OSError) as refused:
            socket.send(bytes(1472))
        self.assertEqual(refused.exception.errno, errno.EMSGSIZE)
        socket.send(bytes(mtu - 28))
        self.assertEqual([frame[IP].len for frame in self.wire.answers()], [mtu])
        socket.set("pmtu_discovery", 1)
        socket.send(bytes(1472))
        frames = [frame[IP] for frame in self.wire.answers()]
        self.assertLessEqual(max(ip.len for ip in frames), mtu)
        self.assertEqual(sum(len(ip.payload) for ip in frames), 1480)


def message_of(kind):
    message = bytes([kind, 0, 0, 0]) + bytes(16)
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


def changed(quote, sport=None, dport=None, **fields):
    """A quote of a packet that never was: with its checksum mended, as a forger would."""
    packet = IP(bytes(quote))
    for name, value in fields.items():
        setattr(packet, name, value)
    for name, value in (("sport", sport), ("dport", dport)):
        if value is not None:
            setattr(packet[UDP], name, value)
    del packet.chksum
    return bytes(packet)
