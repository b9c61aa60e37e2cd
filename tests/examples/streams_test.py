"""Streams of which the newest counts, sensors, commands and a game, over the kernel's sockets and under `gannet run` with loss."""
import random
import re
import shutil
import signal
import socket
import struct
import time

from uses import LOCALHOST, PATIENCE, Uses, example, free_port, main


class Telemetry(Uses):
    def collect(self, inside=None):
        port = free_port()
        collector = self.start(example("collector", inside), self.at(port), 3, inside=inside)
        self.assertIn("Listening", collector.stdout.readline())
        return port, collector

    def sums(self, collector):
        said = collector.communicate(timeout=PATIENCE)[0].splitlines()
        return said[:-1], [int(word) for word in said[-1].replace(",", "").replace(";", "").split() if word.isdigit()]

    def test_ten_thousand_sensors(self):
        port, collector = self.collect()
        code, said, complaint = self.run_one(example("sensors"), self.at(port), 10_000, 1, 3)
        self.assertEqual(code, 0, complaint)
        self.assertIn("30000 reports of 10000 sensors", said)
        lines, (sensors, reports, lost, late, doubled, *_) = self.sums(collector)
        self.assertEqual((sensors, reports + lost, late, doubled), (10_000, 30_000, 0, 0), lines[:3])

    def test_a_datagram_for_each_report(self):
        port, collector = self.collect()
        code, said, complaint = self.run_one(example("sensors"), self.at(port), 500, 10, 1, "--single")
        self.assertEqual((code, said), (0, "5000 reports of 500 sensors in 5000 datagrams, 0 refused\n"), complaint)
        _, (sensors, reports, lost, late, doubled, *_) = self.sums(collector)
        self.assertEqual((sensors, reports + lost, late, doubled), (500, 5_000, 0, 0))

    def test_what_the_network_did_is_known(self):
        port, collector = self.collect(inside=["--loss", "10%", "--delay", "30ms", "--jitter", "20ms", "--reorder", "20%", "--duplicate", "5%", "--seed", "2"])
        self.run_one(example("sensors"), self.at(port), 500, 40, 3)
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

    def test_over_ipv6(self):
        self.over_ipv6()
        port, collector = self.collect()
        self.run_one(example("sensors"), self.at(port), 500, 10, 1)
        _, (sensors, reports, lost, late, doubled, *_) = self.sums(collector)
        self.assertEqual((sensors, reports + lost, late, doubled), (500, 5_000, 0, 0))

    def test_replayed_reordered_and_forged_reports(self):
        port, collector = self.collect()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((LOCALHOST, port))
            for number in [1, 2, 4, 3, 3, 4, 1, 8, 900_000, 900_001]:  # 5 to 7 are lost; the last two are of one who began anew, or of a forger
                sender.send(f"a:{number}|g|#seq:{number}\n".encode())
            sender.send(b"a:1|g|#seq:900002\na:1|g|#se")  # cut off
        lines, (sensors, reports, lost, late, doubled, interpolated, anew, unreadable, _) = self.sums(collector)
        self.assertEqual((sensors, reports, lost, late, doubled, interpolated, anew, unreadable), (1, 8, 3, 1, 3, 4, 1, 1), lines)

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
            self.run_one(example("sensors"), self.at(port), 20, 5, 1, "--plain")
        value = float(files[0].read_text().splitlines()[-1].split(",")[1])
        self.assertTrue(15 <= value <= 25, value)


class Control(Uses):
    REPORT = re.compile(r"(\d+) commands, (\d+) overtaken .* p50 (\d+) us, p99 (\d+) us, most (\d+) us; stood still (\d+) times, for (\d+) ms")

    def drive(self):
        port = free_port()
        robot = self.start(example("robot"), "drive", self.at(port))
        self.assertIn("Listening", robot.stdout.readline())
        return port, lambda: [int(word) for word in self.REPORT.search(robot.communicate(timeout=PATIENCE)[0]).groups()]

    def test_no_robot(self):
        code, said, _ = self.run_one(example("robot"), "command", f"{LOCALHOST}:{free_port()}", 1)
        self.assertEqual(code, 0)
        self.assertRegex(said, r"\A\d+ commands, 1?\d\d refused, since nobody was there\n\Z")

    def test_only_the_newest_counts(self):
        port, report = self.drive()
        flags = ["--loss", "20%", "--delay", "20ms", "--jitter", "10ms", "--reorder", "20%", "--seed", "4"]
        self.run_one(example("robot", flags), "command", self.at(port), 3, inside=flags)
        heard, overtaken, p50, p99, most, *_ = report()
        self.assertTrue(200 < heard < 560, heard)
        self.assertGreater(overtaken, 20)
        self.assertTrue(10_000 < p50 <= p99 <= most < 100_000, (p50, p99, most))

    def test_over_ipv6(self):
        self.over_ipv6()
        port, report = self.drive()
        self.run_one(example("robot"), "command", self.at(port), 1)
        self.assertTrue(100 < report()[0] <= 200)

    def test_stands_still_when_nothing_comes(self):
        port, report = self.drive()
        master = self.start(example("robot"), "command", self.at(port), 4)
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
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            lies = [-(1 << 63), (1 << 63) - 1, now + 3_600_000_000_000]  # when a command was made
            for made in [*lies, 0, now - 1_000_000_000]:  # the last was said before, to another
                stranger.sendto(struct.pack(">Iqi", 1, made, -100), (LOCALHOST, port))
            for number in range(20):
                now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                for made in lies:
                    master.sendto(struct.pack(">Iqi", number + 1, made, -100), (LOCALHOST, port))
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
        self.assertIn("Listening", self.start(example("game_server"), self.at(port)).stdout.readline())
        return port

    def play(self, port, *words, loss="0%"):
        flags = ["--loss", loss, "--delay", "25ms", "--jitter", "10ms", "--seed", "1"]
        code, said, complaint = self.run_one(example("game_players", flags), self.at(port), *words, inside=flags)
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

    def test_over_ipv6(self):
        self.over_ipv6()
        code, said, complaint = self.run_one(example("game_players"), self.at(self.serve()), 32, 1)
        self.assertEqual((code, said.count("p50")), (0, 2), complaint)

    def test_a_player_who_lies(self):
        """Inputs that are replayed, reordered, from the future and more than there is room for, from one who plays: the others do not notice."""
        port = self.serve()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
            liar.connect((LOCALHOST, port))
            for last, count in (16, 16), (16, 16), (8, 8), (1 << 31, 16), ((1 << 32) - 1, 1 << 31), (0, (1 << 32) - 1), (17, 1), (100, 0):
                liar.send(struct.pack("=II16s", last, count, bytes(range(16))))
            own, _ = self.play(port, 31, 2)
            self.assertEqual(own[0], 0)

    def test_a_server_that_lies(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind((LOCALHOST, 0))
            server.settimeout(PATIENCE)
            playing = self.start(example("game_players"), self.at(server.getsockname()[1]), 1, 1)
            chance = random.Random(61)
            for _ in range(30):
                _, peer = server.recvfrom(2000)
                for you, acted_on, place in (0, 0, (1 << 31) - 1), (0, 0, -(1 << 31)), (32, 0, 0), (0, 1 << 31, 0), (0, 1, 1 << 28):
                    server.sendto(struct.pack("=IIII64i", 1, you, acted_on, 3, *[place] * 64), peer)
                server.sendto(struct.pack("=IIII", 2, 0, 0, 3) + chance.randbytes(255), peer)
            server.sendto(struct.pack("=IIII64i", 1, 0, 0, 3, *[83] * 64), peer)
            said = playing.communicate(timeout=PATIENCE)[0]
            self.assertEqual((playing.returncode, said.count("p50")), (0, 2))

    def test_strangers(self):
        port = self.serve()
        chance = random.Random(60)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
            for size in [0, 1, 23, 25, 1400] + [24] * 500:
                hostile.sendto(chance.randbytes(size), (LOCALHOST, port))
            own, _ = self.play(port, 31, 2)
            self.assertEqual(own[0], 0)


main()
