"""Discovery: examples/mdns_query and Debian's avahi-daemon, each in a network namespace of its own, a veth pair between them."""
import random
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "support"))
from namespace import enter_namespace

from uses import PATIENCE, Uses, example, main

NEAR, FAR, FAR6 = "10.77.0.1", "10.77.0.2", "fd77::2"
GROUP, PORT = "224.0.0.251", 5353
SERVICE = """<?xml version="1.0" standalone='no'?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group><name>Gannet. 1</name><service><type>_gannet._udp</type><port>65433</port><txt-record>colour=white</txt-record></service></service-group>
"""
CONFIGURATION = """[server]
host-name=gannet-far
use-ipv4=yes
use-ipv6=yes
allow-interfaces=far
enable-dbus=no
[publish]
publish-workstation=no
publish-hinfo=no
"""
INSTANCE = r"Gannet\046 1._gannet._udp.local"  # the dot within a label


def sh(command):
    subprocess.run(["sh", "-ec", command], check=True)


class Discovery(Uses):
    far = None  # the process that holds the other namespace

    @classmethod
    def setUpClass(cls):
        cls.far = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE, text=True)
        cls.far.stdout.readline()
        sh(f"ip link add near type veth peer name far netns {cls.far.pid}; ip addr add {NEAR}/24 dev near; ip link set near up; ip route add default dev near;"
           f"nsenter -t {cls.far.pid} -n sh -ec 'ip addr add {FAR}/24 dev far; ip addr add {FAR6}/64 dev far nodad; ip link set lo up; ip link set far up; ip route add default dev far'")

    @classmethod
    def tearDownClass(cls):
        cls.far.terminate()
        cls.far.communicate()

    def beyond(self, *command):
        """The command, in the other namespace."""
        return ["nsenter", "-t", str(self.far.pid), "-n", *map(str, command)]

    def start_avahi(self):
        self.need("avahi-daemon")
        services = self.folder / "services"
        services.mkdir()
        (services / "gannet.service").write_text(SERVICE)
        (self.folder / "avahi.conf").write_text(CONFIGURATION)
        self.folder.chmod(0o755)
        # It has fixed paths for its services and its state.
        self.start(*self.beyond("unshare", "-m", "sh", "-ec", f"mount -t tmpfs none /run; mkdir /run/avahi-daemon; mount --bind {services} /etc/avahi/services;"
                                f"exec avahi-daemon --no-drop-root --no-rlimits --no-chroot -f {self.folder / 'avahi.conf'}"))
        end = time.monotonic() + PATIENCE
        while self.ask("gannet-far.local", "A", "near", 1)[0] != 0:
            self.assertLess(time.monotonic(), end)

    def ask(self, *words, inside=None):
        return self.run_one(example("mdns_query", inside), *words, inside=inside)

    def answers(self, *flags, inside=None):
        code, said, complaint = self.ask(*flags, "_gannet._udp.local", "PTR", "near", 4, inside=inside)
        self.assertEqual(code, 0, complaint)
        self.assertIn(f"PTR {INSTANCE}\n", said)
        address = ("AAAA", FAR6) if "--ipv6" in flags else ("A", FAR)
        for name, kind, expected in (("gannet-far.local", *address), (INSTANCE, "SRV", "65433 gannet-far.local"), (INSTANCE, "TXT", '"colour=white"')):
            with self.subTest(name=name, flags=flags):
                code, said, complaint = self.ask(*flags, name, kind, "near", 20, inside=inside)
                self.assertEqual(code, 0, complaint)
                self.assertIn(f"{kind} {expected}\n", said)

    def test_with_avahi(self):
        self.start_avahi()
        for flags in [], ["--unicast"], ["--one-shot"], ["--ipv6"]:
            self.answers(*flags)
        self.assertEqual(self.ask("nobody.local", "A", "near", 1), (1, "", "mdns_query: nobody on the link answers\n"))

    def test_with_avahi_and_loss(self):
        self.start_avahi()
        for flags in [], ["--one-shot"]:
            self.answers(*flags, inside=["--loss", "30%", "--seed", "5"])

    def lies(self, query, name=b"\1a\5local\0"):
        """What is no answer, and what lies about its lengths; the truth is not among it."""
        def answer(flags=b"\x84\0", kind=b"\0\x0c\x80\1", seconds=60, data=b"\1x\xc0\x0c", name=name):
            return query[:2] + flags + b"\0\0\0\1\0\0\0\0" + name + kind + struct.pack(">IH", seconds, len(data)) + data
        true = answer()
        no_answers = [query, answer(flags=b"\4\0"), answer(flags=b"\x84\3"), answer(flags=b"\xcc\0"), answer(kind=b"\0\x0c\0\3"), answer(kind=b"\0\1\0\1"),
                      answer(name=b"\1b\5local\0"), answer(seconds=0)]
        liars = [b"", b"x", true[:-1], true[:20], true[:6] + b"\xff\xff" + true[8:], answer(name=b"\xc0\x0c"), answer(name=b"\x40" + b"x" * 64 + b"\0"),
                 answer(data=b"\xc0\x30"), answer(data=b"\1x\0more"), answer(name=b"\x3f" * 300)]
        return true, no_answers, liars

    def heard_of(self, asking):
        said, complaint = asking.communicate(timeout=PATIENCE)
        return asking.returncode, said, complaint

    def popen(self, *words):
        asking = subprocess.Popen([*map(str, (example("mdns_query"), *words))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (asking.kill(), asking.communicate()))
        return asking

    def responder(self):
        """A socket at port 5353, in the group."""
        responder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(responder.close)
        responder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        responder.settimeout(PATIENCE)
        near = socket.inet_aton(NEAR)
        responder.bind(("0.0.0.0", PORT))
        responder.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + near)
        responder.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, near)
        return responder

    def test_lies_to_the_group(self):
        responder = self.responder()
        asking = self.popen("a.local", "PTR", "near", 4)
        query = responder.recv(2000)
        true, no_answers, liars = self.lies(query)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(NEAR))
            stranger.sendto(true.replace(b"\1x", b"\1y"), (GROUP, PORT))  # from another port
        chance = random.Random(6762)
        for message in [*no_answers, *liars, *(chance.randbytes(chance.randrange(200)) for _ in range(50)), true, true]:
            responder.sendto(message, (GROUP, PORT))
        # Asked again, it says what it knows by now.
        while not (again := responder.recv(2000)).startswith(query[:6] + b"\0\1\0\0\0\0" + query[12:]):
            pass
        self.assertTrue(again.endswith(b"\1a\5local\0\0\x0c\0\1\0\0\0\x3c\0\x0b\1x\1a\5local\0"), again)
        code, said, complaint = self.heard_of(asking)
        self.assertEqual((code, said), (0, "a.local 60 PTR x.a.local\n"), complaint)
        self.assertGreaterEqual(complaint.count("\n"), len(liars))

    def test_lies_to_us_alone(self):
        responder = self.responder()
        asking = self.popen("--one-shot", "a.local", "PTR", "near", 2)
        query, peer = responder.recvfrom(2000)
        self.assertNotEqual(peer[1], PORT)
        true, no_answers, liars = self.lies(query)
        responder.sendto(true.replace(b"\1x", b"\1y"), peer)  # its TTL says that it may have come through a router
        responder.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        for message in [*no_answers, *liars, bytes([query[0] ^ 1]) + true[1:].replace(b"\1x", b"\1z"), true, true]:
            responder.sendto(message, peer)
        code, said, complaint = self.heard_of(asking)
        self.assertEqual((code, said), (0, "a.local 60 PTR x.a.local\n"), complaint)

    def test_what_is_no_request(self):
        for words in ["a.local", "MX"], ["--one-shot", "--unicast", "a.local"], ["a..local"], ["x" * 64], ["a.local", "A", "nowhere"], ["a.local", "A", "near", "0"]:
            with self.subTest(words=words):
                code, said, complaint = self.ask(*words)
                self.assertIn(code, (1, 2))
                self.assertEqual((said, complaint.count("\n")), ("", 1))


enter_namespace()
main()
