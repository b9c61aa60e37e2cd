"""A wire with our host at one end, and at the other whatever a test makes up, frame by frame.

    netns_host                                     this process: scapy builds and reads the frames
    our host, 10.7.0.2/16  ---- tap gannet0 ----  stations 10.7.1.1, 10.7.1.2, ...: an IP and a MAC address each, and no more

The kernel has no address there, unless a test gives it one, and so keeps silent. No test waits for silence: our host takes frames in their order, so
once it has answered the ping that settle() sends behind them, all that it ever says to them has been said.
"""
import os
import select
import socket
import struct
import subprocess
import time
import unittest
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

HOST = Path(os.environ.get("GANNET_BUILD_DIR", "build/dev")) / "tests/netns_host"
OURS, PREFIX, TAP = "10.7.0.2", 16, "gannet0"
EVERYBODY = "ff:ff:ff:ff:ff:ff"
PATIENCE = 30  # seconds; sanitizers on a busy machine are slow
PACKET_IGNORE_OUTGOING, SOL_PACKET, SO_TIMESTAMPNS = 23, 263, 35
IGMP = 2

Datagram = namedtuple("Datagram", "data peer local ttl tos options")
Failure = namedtuple("Failure", "error type code mtu peer offender")  # what the network reported to a socket


class Host:
    """Our host: a process whose sockets are driven line by line (host/main.cc says how)."""

    def __init__(self):
        self.process = subprocess.Popen([HOST, f"tap:{TAP},{OURS}/{PREFIX}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.sockets = 0
        self.answer()

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self):
        words = self.process.stdout.readline().split(maxsplit=2)
        if not words:
            raise AssertionError(f"our host ended with {self.process.wait(PATIENCE)}")
        if words[0] == "error":
            raise OSError(int(words[1]), words[2].strip())
        return " ".join(words[1:]).split()

    def numbers(self, kind):
        return {name: int(value) for name, value in (word.split("=") for word in self.ask(kind))}

    def drops(self):
        return self.numbers("drops")

    def counter(self, name):
        return self.numbers("counters").get(name, 0)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(PATIENCE)


class Socket:
    """One of our host's sockets."""

    def __init__(self, host):
        self.host = host
        host.sockets += 1
        self.name = f"s{host.sockets}"
        host.ask("open", self.name)

    def do(self, verb, *words):
        return self.host.ask(verb, self.name, *words)

    def set(self, option, value):
        self.do("set", option, value)

    def get(self, option):
        return int(self.do("get", option)[0])

    def bind(self, port, ip="0.0.0.0"):
        self.do("bind", f"{ip}:{port}")

    def connect(self, peer):
        self.do("connect", "%s:%d" % peer)

    def local(self):
        return address_of(self.do("local")[0])

    def join(self, group, *source):
        self.do("join", group, *source)

    def leave(self, group, *source):
        self.do("leave", group, *source)

    def send(self, data, to=None, **chosen):
        if to:
            chosen["to"] = "%s:%d" % to
        self.do("send", data.hex() or "-", *(f"{name}={value}" for name, value in chosen.items()))

    def receive(self):
        """Everything that has come."""
        datagrams = []
        for data, peer, local, ttl, tos, options in self.all_of("receive"):
            datagrams.append(Datagram(bytes_of(data), address_of(peer), address_of(local), int(ttl), int(tos), bytes_of(options)))
        return datagrams

    def data(self):
        return [datagram.data for datagram in self.receive()]

    def failures(self):
        """Everything that has been reported."""
        return [Failure(*map(int, words[:4]), address_of(words[4]), words[5]) for words in self.all_of("failure")]

    def all_of(self, verb):
        while True:
            try:
                yield self.do(verb)
            except BlockingIOError:
                return

    def close(self):
        self.do("close")


def address_of(text):
    ip, port = text.rsplit(":", 1)
    return ip, int(port)


def bytes_of(text):
    return b"" if text == "-" else bytes.fromhex(text)


class Station:
    """A neighbour of our host that the test plays. It answers ARP by itself, unless it is mute."""

    def __init__(self, wire, number, mute=False):
        self.ip, self.mac, self.mute = f"10.7.{1 + number // 250}.{1 + number % 250}", f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}", mute
        self.wire = wire

    def to_us(self, **ip):
        """The headers of a packet to our host, its fields as given."""
        return Ether(src=self.mac, dst=self.wire.mac) / IP(**{"src": self.ip, "dst": OURS, "id": self.wire.next_id()} | ip)

    def udp(self, port, data=b"", sport=4000, udp=None, **ip):
        return self.to_us(**ip) / UDP(sport=sport, dport=port, **(udp or {})) / Raw(data)

    def to_all(self, dst, port, data=b"", mac=EVERYBODY, **ip):
        """A datagram to a broadcast address, or with its MAC address to a group."""
        frame = self.udp(port, data, dst=dst, **ip)
        frame[Ether].dst = mac
        return frame

    def arp(self, op=1, target=OURS, hwdst="00:00:00:00:00:00", dst=EVERYBODY, **fields):
        return Ether(src=self.mac, dst=dst) / ARP(**{"op": op, "hwsrc": self.mac, "psrc": self.ip, "hwdst": hwdst, "pdst": target} | fields)


class Wire:
    def __init__(self, kernel=None):
        self.host = Host()
        if kernel:
            subprocess.run(["ip", "address", "add", kernel, "broadcast", "+", "dev", TAP], check=True)
        self.packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)  # as far as an ordinary user may
        self.packets.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.packets.bind((TAP, 0))
        self.stations, self.ids, self.answered = {}, 0, 0
        self.mac = EVERYBODY
        self.watch = self.station()
        self.announcements = []  # of its own address, by our host
        self.host.drops()  # with the first command its loop begins
        self.mac = self.wait_for(lambda frame: ARP in frame and frame[ARP].op == 2)[ARP].hwsrc

    def close(self):
        self.packets.close()
        return self.host.close()

    def next_id(self):
        self.ids = self.ids % 65535 + 1
        return self.ids

    def station(self, mute=False):
        """One more neighbour; unless it is mute, our host has heard of it."""
        station = Station(self, len(self.stations), mute)
        self.stations[station.ip] = station
        if not mute:
            self.send(station.arp())
        return station

    def send(self, *frames):
        for frame in frames:
            self.packets.send(bytes(frame))

    def read(self, seconds):
        """The next frame from our host, or nothing when none comes for so long."""
        if not select.select([self.packets], [], [], max(0, seconds))[0]:
            return None
        data, [(_, _, stamp)], _, _ = self.packets.recvmsg(65536, 64)
        frame = Ether(data)
        seconds, nanoseconds = struct.unpack("qq", stamp)
        frame.time = seconds + nanoseconds / 1e9  # when the kernel had it, however late we are
        if ARP in frame and frame[ARP].op == 1:
            self.asked(frame)
        return frame

    def asked(self, frame):
        station = self.stations.get(frame[ARP].pdst)
        if frame[ARP].pdst == OURS:
            self.announcements.append(frame)
        elif station and not station.mute:
            self.answered += 1
            self.send(station.arp(op=2, hwdst=self.mac, dst=self.mac))

    def frames(self, seconds=PATIENCE):
        """What our host sends, as it comes, for so long."""
        deadline = time.monotonic() + seconds
        while (frame := self.read(deadline - time.monotonic())) is not None:
            yield frame

    def wait_for(self, wanted, seconds=PATIENCE):
        """The first frame that is wanted."""
        for frame in self.frames(seconds):
            if wanted(frame):
                return frame
        raise AssertionError(f"nothing of the kind came for {seconds} s; our host {'has ended' if self.host.process.poll() is not None else 'lives'}")

    def exchange(self, *frames):
        """Sends these, and returns all that our host had sent by the time it had nothing more to say to them."""
        said = []
        for first in range(0, max(1, len(frames)), 250):  # the kernel's queue of the device has room for so many
            self.send(*frames[first:first + 250])
            answered = None
            while answered != self.answered:  # who got an ARP answer has something to send
                answered = self.answered
                number = self.next_id()
                self.send(self.watch.to_us() / ICMP(type=8, id=0xbeef, seq=number))
                said.append(self.wait_for(lambda frame, n=number: is_answer_to(frame, n) or said.append(frame)))
                said.pop()
        return said

    def answers(self, *frames):
        """The same without ARP and IGMP, which have times of their own."""
        return [frame for frame in self.exchange(*frames) if IP in frame and frame[IP].proto != IGMP]

    settle = exchange


def is_answer_to(frame, number):
    return ICMP in frame and frame[ICMP].type == 0 and frame[ICMP].id == 0xbeef and frame[ICMP].seq == number


class OnTheWire(unittest.TestCase):
    """What the tests of one theme share: a wire for all of them, a station for each."""

    kernel = None

    @classmethod
    def setUpClass(cls):
        cls.wire = Wire(cls.kernel)
        cls.host = cls.wire.host

    @classmethod
    def tearDownClass(cls):
        status = cls.wire.close()
        if status != 0:
            raise AssertionError(f"our host ended with {status}")

    def setUp(self):
        self.station = self.wire.station()
        self.opened = []
        self.wire.settle()

    def tearDown(self):
        for each in self.opened:
            each.close()
        self.wire.settle()

    def socket(self, port=None, ip="0.0.0.0", **options):
        """One of our host's, bound to this port; closed after the test."""
        made = Socket(self.host)
        self.opened.append(made)
        for option, value in options.items():
            made.set(option, value)
        if port is not None:
            made.bind(port, ip)
        return made

    @contextmanager
    def dropping(self, **expected):
        """These reasons are counted meanwhile, so often, and no others."""
        self.wire.settle()
        before = self.host.drops()
        yield
        self.wire.settle()
        counted = {name: count - before.get(name, 0) for name, count in self.host.drops().items()}
        self.assertEqual({name: count for name, count in counted.items() if count}, expected)

    def ignores(self, *frames, **drops):
        """Our host answers nothing to these, and drops them for these reasons."""
        with self.dropping(**drops):
            self.assertEqual([frame.summary() for frame in self.wire.answers(*frames)], [])
