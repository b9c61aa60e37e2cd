"""The examples of what UDP is for, each with somebody else's program at the other end: over the kernel's sockets, and under `gannet run` with loss."""
import filecmp
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "cli"))
import programs
from gannet import GANNET, PATIENCE
from programs import result_of, under

LOCALHOST = "127.0.0.1"


def example(name, inside=None):
    """The program; `inside` of `gannet run`, one that it can enter, which one with sanitizers is not."""
    folder = GANNET.resolve().parent / "examples"
    return folder / "plain" / name if inside is not None and (folder / "plain").is_dir() else folder / name


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOCALHOST, 0))
        return probe.getsockname()[1]


class Uses(unittest.TestCase):
    """`run` and `start` take a program over the kernel's sockets; with `inside`, on our stack, which loses as much as is said there."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def need(self, *names):
        for name in names:
            if not shutil.which(name):
                self.skipTest(f"{name} is not installed")

    def start(self, *program, inside=None):
        command = program if inside is None else under(*program, via="kernel", flags=inside)
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=self.folder)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()

    def run_one(self, *program, inside=None):
        command = program if inside is None else under(*program, via="kernel", flags=inside)
        return result_of([*map(str, command)], cwd=self.folder, timeout=3 * PATIENCE)

    def until_it_works(self, *program):
        """Runs a client until its server, which does not say when it listens, answers."""
        end = time.monotonic() + PATIENCE
        while (result := self.run_one(*program))[0] != 0:
            self.assertLess(time.monotonic(), end, result)
            time.sleep(0.05)
        return result


class Tftp(Uses):
    LOSS = ["--loss", "10%", "--seed", "7"]

    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.served = self.folder / "served"
        self.served.mkdir()
        self.folder.chmod(0o755)
        self.served.chmod(0o777)
        self.sizes = {"empty": 0, "block": 512, "blocks": 2 * 1428, "odd": 5_001}
        for name, size in self.sizes.items():
            for place in self.served / name, self.folder / f"{name}.put":
                place.write_bytes(random.Random(name).randbytes(size))
                place.chmod(0o666)

    def serve(self, *how, inside=None):
        server = self.start(*how, inside=inside)
        if how[0].name == "tftp":
            self.assertIn("Listening", server.stdout.readline())

    def same(self, name, copy):
        self.assertTrue(filecmp.cmp(self.folder / f"{name}.put", copy, shallow=False), name)

    def ours_and(self, server, inside=None):
        self.serve(*server)
        self.until_it_works(example("tftp"), "get", f"{LOCALHOST}:{self.port}", "empty", "copy")
        for name in self.sizes:
            self.assertEqual(self.run_one(example("tftp", inside), "get", f"{LOCALHOST}:{self.port}", name, "copy", inside=inside), (0, "", ""))
            self.same(name, self.folder / "copy")
            self.assertEqual(self.run_one(example("tftp", inside), "put", f"{LOCALHOST}:{self.port}", f"{name}.put", f"new {name}", inside=inside), (0, "", ""))
            self.same(name, self.served / f"new {name}")

    def atftpd(self):
        self.need("atftpd")
        return [Path(shutil.which("atftpd")), "--daemon", "--no-fork", "--port", self.port, "--bind-address", LOCALHOST, "--user", "nobody.nogroup", self.served]

    def own_server(self, inside=None):
        return [example("tftp", inside), "serve", f"{LOCALHOST}:{self.port}", self.served]

    def test_with_atftpd(self):
        self.ours_and(self.atftpd())

    def test_with_atftpd_and_loss(self):
        self.ours_and(self.atftpd(), inside=self.LOSS)

    def atftp_and_ours(self, inside=None):
        self.need("atftp")
        self.serve(*self.own_server(inside), inside=inside)
        # An OACK that comes twice, since its acknowledgement was lost, makes atftp give up: no options with loss. And after some ten timeouts, however
        # far apart, it gives up too: no long files.
        for options in [["--tftp-timeout", "1"]] if inside else ([], ["--option", "blksize 1428"], ["--option", "blksize 8", "--option", "timeout 1"]):
            for name in self.sizes:
                with self.subTest(options=options, name=name):
                    for path in self.folder / "copy", self.served / "new":
                        path.unlink(missing_ok=True)
                    code, _, said = self.run_one("atftp", *options, "-g", "-r", name, "-l", "copy", LOCALHOST, self.port)
                    self.assertEqual(code, 0, said)
                    self.same(name, self.folder / "copy")
                    code, _, said = self.run_one("atftp", *options, "-p", "-l", f"{name}.put", "-r", "new", LOCALHOST, self.port)
                    self.assertEqual(code, 0, said)
                    self.same(name, self.served / "new")

    def test_with_atftp(self):
        self.atftp_and_ours()

    def test_with_atftp_and_loss(self):
        self.atftp_and_ours(inside=self.LOSS)

    def test_names_that_lead_out_of_the_folder(self):
        self.serve(*self.own_server())
        (self.folder / "secret").write_text("secret")
        (self.served / "link").symlink_to("../secret")
        for name in "../secret", "../../etc/passwd", "link", "sub/../../secret", ".", "/":
            code, _, said = self.run_one(example("tftp"), "get", f"{LOCALHOST}:{self.port}", name, "stolen")
            self.assertEqual((code, said.count("\n")), (1, 1), said)
            self.run_one(example("tftp"), "put", f"{LOCALHOST}:{self.port}", "odd.put", name)
        self.assertFalse((self.folder / "stolen").exists())
        self.assertEqual((self.folder / "secret").read_text(), "secret")

    def test_what_is_no_request(self):
        self.serve(*self.own_server())
        chance = random.Random(1350)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
            hostile.connect((LOCALHOST, self.port))
            for kind in b"", b"\0", b"\0\1", b"\0\1x\0", b"\0\1x\0octet", b"\0\2x\0netascii\0", b"\0\3\0\1", b"\0\1" + b"x" * 1400, b"\0\1\0\0\0":
                hostile.send(kind)
            for _ in range(200):
                hostile.send(bytes([0, chance.randrange(8)]) + chance.randbytes(chance.randrange(600)))
        self.assertEqual(self.run_one(example("tftp"), "get", f"{LOCALHOST}:{self.port}", "odd", "copy"), (0, "", ""))
        self.assertEqual(sorted(os.listdir(self.served)), sorted(self.sizes))


class Dns(Uses):
    RECORDS = ["--host-record=gannet.test,192.0.2.53,2001:db8::53", "--txt-record=gannet.test,one,two words", "--address=/nosuch.test/"]

    def setUp(self):
        super().setUp()
        self.need("dnsmasq")
        self.port = free_port()

    def ask(self, *words, inside=None):
        return self.run_one(example("dns_query", inside), f"{LOCALHOST}:{self.port}", *words, inside=inside)

    def answers(self, inside=None):
        self.start("dnsmasq", "-k", "-p", self.port, "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--user=", "--group=",
                   "--bind-interfaces", f"--listen-address={LOCALHOST}", *self.RECORDS)
        self.until_it_works(example("dns_query"), f"{LOCALHOST}:{self.port}", "gannet.test")
        for kind, value in ("A", "192.0.2.53"), ("AAAA", "2001:db8::53"), ("TXT", '"one" "two words"'):
            code, said, complaint = self.ask("gannet.test", kind, inside=inside)
            self.assertEqual((code, said), (0, f"gannet.test 0 {kind} {value}\n"), complaint)
        code, said, complaint = self.ask("nosuch.test", inside=inside)
        self.assertEqual((code, said), (1, ""))
        self.assertIn("there is no such name", complaint)

    def test_with_dnsmasq(self):
        self.answers()

    def test_with_dnsmasq_and_loss(self):
        self.answers(inside=["--loss", "30%", "--seed", "3"])

    def test_nobody_there(self):
        code, _, complaint = self.ask("gannet.test")
        self.assertEqual(code, 1)
        self.assertIn("refused", complaint)

    def test_silence_and_forgeries(self):
        """A server that says everything but the answer: each is ignored, and the true answer, which comes last, is taken."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            server.bind((LOCALHOST, self.port))
            server.settimeout(PATIENCE)
            asking = subprocess.Popen([example("dns_query"), f"{LOCALHOST}:{self.port}", "a.test"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(lambda: (asking.kill(), asking.communicate()))
            first, _ = server.recvfrom(2000)
            query, peer = server.recvfrom(2000)
            self.assertEqual(first, query, "asked again, after a silence")
            question = query[12:query.index(b"\0", 12) + 5]
            answer = b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 1])
            stranger.sendto(query[:2] + answer[:-1] + b"\2", peer)
            server.sendto(bytes([query[0] ^ 1, query[1]]) + answer[:-1] + b"\3", peer)
            server.sendto(query, peer)
            server.sendto(query[:2] + answer.replace(b"\1a\4test", b"\1b\4test"), peer)
            server.sendto(b"x", peer)
            server.sendto(query[:2] + answer, peer)
            said, complaint = asking.communicate(timeout=PATIENCE)
            self.assertEqual(said, "a.test 60 A 192.0.2.1\n")
            self.assertIn("asking again", complaint)

    def test_answers_that_lie_about_their_length(self):
        for tail in b"", b"\xc0", b"\xc0\x0c\0\1\0\1\0\0\0\x3c\xff\xff\1", b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\3\1\2\3", b"\x3f" * 40:
            with self.subTest(tail=tail), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind((LOCALHOST, 0))
                server.settimeout(PATIENCE)
                asking = subprocess.Popen([example("dns_query"), f"{LOCALHOST}:{server.getsockname()[1]}", "a.test"], stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE, text=True)
                query, peer = server.recvfrom(2000)
                server.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:query.index(b"\0", 12) + 5] + tail, peer)
                said, complaint = asking.communicate(timeout=PATIENCE)
                self.assertEqual((asking.returncode, said, complaint.count("\n")), (1, "", 1), complaint)


class Reliable(Uses):
    def copies(self, inside=None):
        original = random.Random(7).randbytes(200_001)
        (self.folder / "original").write_bytes(original)
        port = free_port()
        with open(self.folder / "copy", "wb") as copy, open(self.folder / "original", "rb") as source:
            def command(role):
                program = [example("reliable", inside), role, f"{LOCALHOST}:{port}"]
                return [*map(str, program if inside is None else under(*program, via="kernel", flags=inside))]
            receiver = subprocess.Popen(command("receive"), stdout=copy, stderr=subprocess.PIPE, text=True)
            self.addCleanup(lambda: (receiver.terminate(), receiver.communicate()))
            self.assertIn("Listening", receiver.stderr.readline())
            code, _, said = result_of(command("send"), stdin=source, timeout=3 * PATIENCE)
            self.assertEqual(code, 0, said)
            self.assertEqual(receiver.wait(PATIENCE), 0)
        self.assertEqual((self.folder / "copy").read_bytes(), original)
        return said

    def test_all_arrives(self):
        self.assertRegex(self.copies(), r"\A168 packets, \d+ of them again\n\Z")

    def test_all_arrives_whatever_the_network_does(self):
        said = self.copies(inside=["--loss", "20%", "--delay", "5ms", "--jitter", "3ms", "--reorder", "10%", "--duplicate", "5%", "--corrupt", "2%", "--seed", "5"])
        self.assertGreater(int(said.split()[2]), 30)

    def test_nobody_there(self):
        code, _, said = result_of([example("reliable"), "send", f"{LOCALHOST}:{free_port()}"], input="x")
        self.assertEqual(code, 1)
        self.assertRegex(said, r"\Areliable: .*[Cc]onnection refused.*\n\Z")


class Telemetry(Uses):
    def collect(self, inside=None):
        port = free_port()
        collector = self.start(example("collector", inside), f"{LOCALHOST}:{port}", 3, inside=inside)
        self.assertIn("Listening", collector.stdout.readline())
        return port, collector

    def sums(self, collector):
        said = collector.communicate(timeout=PATIENCE)[0].splitlines()
        return said[:-1], [int(word) for word in said[-1].replace(",", "").replace(";", "").split() if word.isdigit()]

    def test_ten_thousand_sensors(self):
        port, collector = self.collect()
        code, said, complaint = self.run_one(example("sensors"), f"{LOCALHOST}:{port}", 10_000, 1, 3)
        self.assertEqual(code, 0, complaint)
        self.assertIn("30000 reports of 10000 sensors", said)
        lines, (sensors, reports, lost, late, doubled, *_) = self.sums(collector)
        self.assertEqual((sensors, reports + lost, late, doubled), (10_000, 30_000, 0, 0), lines[:3])

    def test_what_the_network_did_is_known(self):
        port, collector = self.collect(inside=["--loss", "10%", "--delay", "30ms", "--jitter", "20ms", "--reorder", "20%", "--duplicate", "5%", "--seed", "2"])
        self.run_one(example("sensors"), f"{LOCALHOST}:{port}", 500, 40, 3)
        lines, (sensors, reports, lost, late, doubled, interpolated, anew, unreadable, too_many) = self.sums(collector)
        self.assertEqual((sensors, anew, unreadable, too_many), (500, 0, 0, 0))
        self.assertEqual(interpolated, lost + late, "each gap was filled, and some of what was late came later")
        self.assertLessEqual(60_000 - 500 * 30, reports + lost)
        self.assertLessEqual(reports + lost, 60_000)
        for count in lost, late, doubled:
            self.assertGreater(count, 500)
        self.assertEqual(len(lines), 500)

    def test_lies(self):
        port, collector = self.collect()
        chance = random.Random(8125)
        honest = [f"honest:{i}.5|g|#seq:{i}" for i in range(1, 51)]
        lies = ["", ":1|g|#seq:1", "x", "x:|g|#seq:1", "x:1|c|#seq:1", "x:1|g", "x:1|g|#seq:", "x:1|g|#seq:-1", "x:1|g|#seq:99999999999", "x:nan|g|#seq:1",
                "x:1e999|g|#seq:1", "x" * 65 + ":1|g|#seq:1", "x|g|#seq:1:", "|:"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((LOCALHOST, port))
            for line in honest:
                sender.send(line.encode())
                sender.send("\n".join(lies).encode())
                sender.send(b"y" + bytes(chance.choice(b":|gseq#0123\xff\0") for _ in range(200)))
            for i in range(70_000):
                sender.send(f"fake{i}:1|g|#seq:1".encode())
                if i % 50 == 0:
                    time.sleep(0.001)
        lines, (sensors, *counts) = self.sums(collector)
        self.assertLessEqual(sensors, 65_536)
        self.assertNotIn("honest", [line.split(":")[0] for line in lines], "nothing of it was lost")
        self.assertGreaterEqual(counts[6], len(lies) * 50)

    def test_with_collectd(self):
        self.need("collectd")
        port = free_port()
        (self.folder / "collectd.conf").write_text(f"""
BaseDir "{self.folder}"
PIDFile "{self.folder}/pid"
PluginDir "/usr/lib/collectd"
TypesDB "/usr/share/collectd/types.db"
Hostname "gannet"
Interval 1
LoadPlugin statsd
LoadPlugin csv
<Plugin statsd>
  Host "{LOCALHOST}"
  Port "{port}"
</Plugin>
<Plugin csv>
  DataDir "{self.folder}/csv"
</Plugin>
""")
        self.start(shutil.which("collectd"), "-f", "-C", self.folder / "collectd.conf")
        end = time.monotonic() + PATIENCE
        while len(files := list((self.folder / "csv").glob("gannet/statsd/gauge-sensor.*"))) < 20:
            self.assertLess(time.monotonic(), end)
            self.run_one(example("sensors"), f"{LOCALHOST}:{port}", 20, 5, 1, "--plain")
        value = float(files[0].read_text().splitlines()[-1].split(",")[1])
        self.assertTrue(15 <= value <= 25, value)


class Control(Uses):
    REPORT = re.compile(r"(\d+) commands, (\d+) overtaken .* p50 (\d+) us, p99 (\d+) us, most (\d+) us; stood still (\d+) times, for (\d+) ms")

    def drive(self):
        port = free_port()
        robot = self.start(example("robot"), "drive", f"{LOCALHOST}:{port}")
        self.assertIn("Listening", robot.stdout.readline())
        return port, lambda: [int(word) for word in self.REPORT.search(robot.communicate(timeout=PATIENCE)[0]).groups()]

    def test_only_the_newest_counts(self):
        port, report = self.drive()
        flags = ["--loss", "20%", "--delay", "20ms", "--jitter", "10ms", "--reorder", "20%", "--seed", "4"]
        self.run_one(example("robot", flags), "command", f"{LOCALHOST}:{port}", 3, inside=flags)
        heard, overtaken, p50, p99, most, *_ = report()
        self.assertTrue(200 < heard < 560, heard)
        self.assertGreater(overtaken, 20)
        self.assertTrue(10_000 < p50 <= p99 <= most < 100_000, (p50, p99, most))

    def test_stands_still_when_nothing_comes(self):
        port, report = self.drive()
        master = self.start(example("robot"), "command", f"{LOCALHOST}:{port}", 4)
        time.sleep(1)
        master.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        master.send_signal(signal.SIGCONT)
        master.wait(PATIENCE)
        *_, stops, still = report()
        self.assertGreaterEqual(stops, 1)
        self.assertGreater(still, 200)

    def test_strangers_and_pieces(self):
        """Only who commanded first is heard, and only whole commands."""
        port, report = self.drive()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as master, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for number in range(20):
                now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                for junk in b"", b"x" * 15, b"x" * 17, b"x" * 1400:
                    master.sendto(junk, (LOCALHOST, port))
                master.sendto(struct.pack(">Iqi", number, now, 100), (LOCALHOST, port))
                time.sleep(0.02)
                stranger.sendto(struct.pack(">Iqi", number + 1000, now, -100), (LOCALHOST, port))
            master.sendto(struct.pack(">Iqi", 5, now, 100), (LOCALHOST, port))
            heard, overtaken, *_ = report()
            self.assertEqual((heard, overtaken), (21, 1))


class Game(Uses):
    def serve(self):
        port = free_port()
        self.assertIn("Listening", self.start(example("game_server"), f"{LOCALHOST}:{port}").stdout.readline())
        return port

    def play(self, port, *words, loss="0%"):
        flags = ["--loss", loss, "--delay", "25ms", "--jitter", "10ms", "--seed", "1"]
        code, said, complaint = self.run_one(example("game_players", flags), f"{LOCALHOST}:{port}", *words, inside=flags)
        self.assertEqual(code, 0, complaint)
        return [[int(word) for word in re.findall(r"(\d+) mm", line)] for line in said.splitlines()]

    def test_loss_is_not_seen(self):
        for loss in "0%", "20%":
            with self.subTest(loss=loss):
                own, others = self.play(self.serve(), 32, 3, loss=loss)
                self.assertEqual(own[0], 0, "where one's inputs led, there one is")
                self.assertTrue(80 <= others[0] <= 90, "the others run")

    def test_or_it_is(self):
        self.assertGreater(self.play(self.serve(), 32, 3, "--naive", loss="20%")[0][0], 300)

    def test_strangers(self):
        port = self.serve()
        chance = random.Random(60)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
            for size in [0, 1, 23, 25, 1400] + [24] * 500:
                hostile.sendto(chance.randbytes(size), (LOCALHOST, port))
            own, _ = self.play(port, 31, 2)
            self.assertEqual(own[0], 0)


if not example("tftp").exists():
    programs.skip("the examples are not built")
programs.main()
