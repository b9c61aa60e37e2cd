"""ARP: answering, asking, waiting, believing."""
import errno
import time

from scapy.layers.inet import UDP
from scapy.layers.l2 import ARP, Ether
from wire import EVERYBODY, OURS, PATIENCE, OnTheWire

ASKS, TELLS = 1, 2
ELSEWHERE = "02:00:00:00:ee:ee"


def is_request_for(frame, ip):
    return ARP in frame and frame[ARP].op == ASKS and frame[ARP].pdst == ip


class Arp(OnTheWire):
    def arps(self, *frames):
        """What our host says by ARP to these, its announcements aside."""
        return [frame for frame in self.wire.exchange(*frames) if ARP in frame and frame[ARP].psrc != frame[ARP].pdst]

    def test_requests_are_answered(self):
        """RFC 826: to the one who asks, whatever the frame's destination; a probe (RFC 5227) too."""
        for request in (self.station.arp(), self.station.arp(dst=self.wire.mac), self.station.arp(psrc="0.0.0.0")):
            [reply] = self.arps(request)
            self.assertEqual((reply[Ether].dst, reply[Ether].src), (self.station.mac, self.wire.mac))
            arp = reply[ARP]
            self.assertEqual((arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst), (TELLS, self.wire.mac, OURS, self.station.mac, request[ARP].psrc))

    def test_what_is_not_for_us(self):
        """X11: requests for others, replies to others."""
        unknown = self.wire.station(mute=True)
        with self.dropping(arp_not_for_us=3):
            self.assertEqual(self.arps(unknown.arp(target="10.7.0.3"), unknown.arp(op=TELLS, target="10.7.0.3"), unknown.arp(target="127.0.0.1")), [])

    def test_what_makes_no_sense(self):
        """X1: of another link or network, neither request nor reply, cut short, from a group's MAC address or nobody's, of a broadcast address."""
        wrong = [{"hwtype": 6}, {"ptype": 0x86dd}, {"op": 0}, {"op": 3}, {"hwsrc": "01:00:5e:00:00:01"}, {"hwsrc": EVERYBODY}, {"hwsrc": "00:00:00:00:00:00"},
                 {"psrc": "10.7.255.255"}, {"psrc": "224.0.0.1"}, {"psrc": "127.0.0.1"}, {"hwlen": 8}, {"plen": 16}]
        cut = [bytes(self.station.arp())[:size] for size in (14, 15, 22, 41)]
        with self.dropping(arp_malformed=len(wrong) + len(cut)):
            self.assertEqual(self.arps(*(self.station.arp(**fields) for fields in wrong), *cut), [])

    def test_the_first_datagrams_wait(self):
        """A2: until the answer comes, however late, and leave in their order; there is one question."""
        late, sender = self.wire.station(mute=True), self.socket(5000)
        for number in range(20):
            sender.send(b"%d" % number, (late.ip, 7))
        asked = self.wire.wait_for(lambda frame: is_request_for(frame, late.ip))
        self.assertEqual((asked[Ether].dst, asked[ARP].hwsrc, asked[ARP].psrc), (EVERYBODY, self.wire.mac, OURS))
        self.assertEqual([frame for frame in self.wire.exchange() if is_request_for(frame, late.ip)], [])
        frames = self.wire.exchange(late.arp(op=TELLS, hwdst=self.wire.mac, dst=self.wire.mac))
        sent = [(frame[Ether].dst, bytes(frame[UDP].payload)) for frame in frames if UDP in frame]
        self.assertEqual(sent, [(late.mac, b"%d" % number) for number in range(20)])

    def test_a_mute_neighbour_is_given_up(self):
        """A1: three questions, a second between them however much is sent; then each socket hears of it, and all that waited is dropped."""
        mute, sender = self.wire.station(mute=True), self.socket(5000)
        before = self.host.drops()
        for _ in range(100):
            sender.send(b"x", (mute.ip, 7))
        asked = []
        for frame in self.wire.frames():
            asked += [frame.time] if is_request_for(frame, mute.ip) else []
            if len(asked) == 3:
                break
        self.assertGreater(min(after - first for first, after in zip(asked, asked[1:])), 0.5)
        for frame in self.wire.frames(1.5):
            self.assertFalse(is_request_for(frame, mute.ip))
        self.assertEqual(len(asked), 3)
        deadline = time.monotonic() + PATIENCE
        while not (failures := sender.failures()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual({(failure.error, failure.peer) for failure in failures}, {(errno.EHOSTUNREACH, (mute.ip, 7))})
        drops = {name: count - before.get(name, 0) for name, count in self.host.drops().items()}
        self.assertEqual((drops["neighbor_queue_full"], drops["neighbor_unreachable"]), (36, 64))

    def test_gossip_makes_no_entry(self):
        """X11: an answer that nobody asked for is not believed: we ask before we send."""
        gossip, sender = self.wire.station(mute=True), self.socket(5000)
        with self.dropping(arp_not_for_us=2):
            self.arps(gossip.arp(op=TELLS, hwdst=self.wire.mac, dst=self.wire.mac), gossip.arp(target=gossip.ip))
        sender.send(b"x", (gossip.ip, 7))
        self.wire.wait_for(lambda frame: is_request_for(frame, gossip.ip))
        self.wire.exchange(gossip.arp(op=TELLS, hwdst=self.wire.mac, dst=self.wire.mac))

    def test_a_neighbour_that_moves(self):
        """A1: one that is known is followed: to another MAC address by its announcement, and back by its request."""
        sender = self.socket(5000)
        for mac, news in ((ELSEWHERE, self.station.arp(hwsrc=ELSEWHERE, target=self.station.ip)), (self.station.mac, self.station.arp())):
            self.wire.exchange(news)
            sender.send(b"x", (self.station.ip, 7))
            self.assertEqual([frame[Ether].dst for frame in self.wire.answers()], [mac])

    def test_the_address_is_announced_and_defended(self):
        """A3: announced twice, two seconds apart; defended once in ten seconds, and never given up."""
        heard = self.wire.announcements
        while len(heard) < 2:
            self.wire.wait_for(lambda frame: frame is heard[-1])
        self.assertGreater(heard[1].time - heard[0].time, 1)
        self.assertTrue(all((frame[Ether].dst, frame[ARP].op, frame[ARP].hwsrc) == (EVERYBODY, ASKS, self.wire.mac) for frame in heard))
        claims = [self.station.arp(psrc=OURS), self.station.arp(op=TELLS, psrc=OURS, hwdst=self.wire.mac), self.station.arp(psrc=OURS)]
        self.assertEqual(self.arps(*claims), [])
        self.assertEqual(len(heard), 3)
        self.assertEqual((heard[2][ARP].hwsrc, heard[2][ARP].psrc), (self.wire.mac, OURS))
        self.assertEqual(len(self.arps(self.station.arp())), 1)
