"""Beacons of several processes on a network with faults: `gannet peers` on either side of a link, multicast blocked, a peer killed or stopped, a crowd, a flood.

    here 10.1.0.1/24 near ---- far 10.1.0.2/24 (and .10 to .17) there
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "cli"))
import gannet
from gannet import GANNET, PATIENCE, Command, Running, enter_namespace, events, skip

HERE, THERE = "10.1.0.1", "10.1.0.2"
PORT, GROUP = 65437, "239.255.71.66"
CROWD_ADDRESSES = [f"10.1.0.{host}" for host in range(10, 18)]
BLOCK = """
table inet beacon {
  chain out { type filter hook output priority 0; oifname "near" ip daddr 224.0.0.0/4 drop; oifname "near" ip6 daddr ff00::/8 drop; }
  chain in { type filter hook input priority 0; iifname "near" ip daddr 224.0.0.0/4 drop; iifname "near" ip6 daddr ff00::/8 drop; }
}
"""


def call(*words, among=(), **more):
    subprocess.run([*among, *words], check=True, **more)


class Watching(Running):
    """`gannet peers --watch --json`, here or `among` there."""

    def __init__(self, *arguments, among=()):
        self.process = subprocess.Popen([*among, GANNET, "peers", "--watch", "--json", *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seen = []
        self.queue = gannet.queue.Queue()
        self.reader = gannet.threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def wait_until(self, change, name):
        while True:
            event = self.wait_for("peer")
            if (event["change"], event["name"]) == (change, name):
                return event


class Peers(Command):
    @classmethod
    def setUpClass(cls):
        cls.there_process = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up; echo ready; exec sleep 1000"], stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.end_there)
        cls.there_process.stdout.readline()
        cls.there = ["nsenter", "-t", str(cls.there_process.pid), "-n"]
        call("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(cls.there_process.pid))
        call("ip", "addr", "add", f"{HERE}/24", "dev", "near")
        call("ip", "link", "set", "near", "up")
        for address in [THERE, *CROWD_ADDRESSES]:
            call("ip", "addr", "add", f"{address}/24", "dev", "far", among=cls.there)
        call("ip", "link", "set", "far", "up", among=cls.there)

    @classmethod
    def end_there(cls):
        cls.there_process.kill()
        cls.there_process.wait()
        cls.there_process.stdout.close()

    def watch(self, *arguments, among=()):
        watching = Watching(*arguments, among=among)
        self.addCleanup(self.kill, watching.process)
        return watching

    @staticmethod
    def kill(process):
        process.kill()
        process.wait()
        for pipe in process.stdin, process.stdout:
            if pipe:
                pipe.close()

    def block_multicast(self):
        if not shutil.which("nft"):
            self.skipTest("nft is not installed")
        call("nft", "-f", "-", input=BLOCK, text=True)
        self.addCleanup(call, "nft", "delete", "table", "inet", "beacon")

    @staticmethod
    def ask(*arguments, among=()):
        done = subprocess.run([*among, GANNET, "peers", "--json", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        return {each["name"]: each for each in events(done.stdout, "peer")}, events(done.stdout, "paths")[0]

    def test_across_a_link(self):
        there = self.watch("--announce", "there", "--role", "sensor", "--address", "0.0.0.0:7000", "--meta", "model=x1", among=self.there)
        here = self.watch("--announce", "here")
        seen = here.wait_until("joined", "there")
        if not seen["addresses"]:  # it was heard by IPv6 alone till then
            seen = here.wait_until("changed", "there")
        self.assertEqual((seen["roles"], seen["addresses"], seen["metadata"]), (["sensor"], [f"{THERE}:7000"], {"model": "x1"}))
        there.wait_until("joined", "here")
        found, paths = self.ask()
        self.assertEqual(set(found), {"here", "there"})
        self.assertIn(("multicast", "near"), {(path["kind"], path["interface"]) for path in found["there"]["paths"]})
        near = next(path for path in paths["paths"] if (path["interface"], path["address"]) == ("near", GROUP))
        self.assertGreater(near["heard"], 0)
        self.assertIsNone(paths["advice"])
        self.assertEqual(there.end()[0], 0)
        here.wait_until("left", "there")

    def test_one_interface_alone(self):
        self.watch("--announce", "there", among=self.there)
        self.watch("--announce", "local", "--interface", "lo")
        found, paths = self.ask("--interface", "lo")
        self.assertEqual((set(found), {path["interface"] for path in paths["paths"]}), ({"local"}, {"lo"}))
        found, paths = self.ask("--interface", "near")
        self.assertEqual((set(found), {path["interface"] for path in paths["paths"]}), ({"there"}, {"near"}))

    def test_multicast_blocked(self):
        self.block_multicast()
        there = self.watch("--announce", "there", among=self.there)
        time.sleep(1)
        found, paths = self.ask("--interface", "near")
        self.assertEqual(found, {})
        self.assertIn("does not pass on near", paths["advice"])
        self.assertIn("--seed", paths["advice"])
        # The seed makes it known, and those who know only the seed know each other.
        here = self.watch("--announce", "here", "--interface", "near", "--seed", THERE)
        there.wait_until("joined", "here")
        found, paths = self.ask("--interface", "near", "--seed", THERE, "-w", "4s")
        self.assertEqual(set(found), {"here", "there"})
        self.assertIn("multicast seems blocked", paths["advice"])
        self.assertEqual({path["kind"] for path in found["there"]["paths"]} - {"unicast"}, {"seed"})
        seed = next(path for path in paths["paths"] if path["kind"] == "seed")
        self.assertEqual((seed["peers"], seed["error"]), (1, None))
        here.end()
        there.wait_until("left", "here")

    def test_ipv6(self):
        """Groups of a site's and of a link's scope, and a seed with a scope."""
        for group in "ff15::77", "ff12::77":
            with self.subTest(group=group):
                self.watch("--announce", "there", "--group", group, among=self.there)
                here = self.watch("--announce", "here", "--group", group, "--interface", "near")
                seen = here.wait_until("joined", "there")
                self.assertTrue(all(path["source"].startswith("[fe80::") for path in seen["paths"]), seen)
                here.end()
        address = json.loads(subprocess.run([*self.there, "ip", "-j", "-6", "addr", "show", "dev", "far"], capture_output=True, check=True).stdout)[0]["addr_info"][0]["local"]
        index = socket.if_nametoindex("near")
        found, paths = self.ask("--no-multicast", "--seed", f"[{address}%{index}]:{PORT}")
        self.assertEqual((set(found), paths["paths"][0]["error"]), ({"there"}, None))

    def test_an_interface_that_comes_later(self):
        here = self.watch("--announce", "here")
        there = self.watch("--announce", "there", among=self.there)
        here.wait_until("joined", "there")
        call("ip", "link", "add", "near2", "type", "veth", "peer", "name", "far2", "netns", str(self.there_process.pid))
        self.addCleanup(call, "ip", "link", "del", "near2")
        call("ip", "addr", "add", "10.2.0.1/24", "dev", "near2")
        call("ip", "link", "set", "near2", "up")
        call("ip", "addr", "add", "10.2.0.2/24", "dev", "far2", among=self.there)
        call("ip", "link", "set", "far2", "up", among=self.there)
        time.sleep(12)
        ways = [path for each in here.end()[1] if each["event"] == "paths" for path in each["paths"]]
        near2 = next(path for path in ways if (path["interface"], path["address"]) == ("near2", GROUP))
        self.assertGreater(near2["heard"], 0, ways)
        self.assertEqual(near2["peers"], 1)
        there.end()

    def test_over_a_host_of_ours(self):
        ours = self.watch("--announce", "ours", "--via", "tap:beacon0,10.4.0.2/24")
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(["ip", "addr", "add", "10.4.0.1/24", "dev", "beacon0"], capture_output=True, check=False).returncode != 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        call("ip", "link", "set", "beacon0", "up")
        kernels = self.watch("--announce", "kernels", "--interface", "beacon0", "--address", "0.0.0.0:7000")
        kernels.wait_until("joined", "ours")
        self.assertEqual(ours.wait_until("joined", "kernels")["addresses"], ["10.4.0.1:7000"])
        self.refuses(["peers", "--via", "tap:beacon1,10.5.0.2/24", "--group", "ff15::1"], 1, "IPv4 groups and seeds")

    def test_no_beacon_at_the_seed(self):
        _, paths = self.ask("--no-multicast", "--seed", f"{THERE}:9")
        self.assertEqual(paths["paths"][0]["error"], "Connection refused")
        self.assertIn("see whether a beacon runs at the seed", paths["advice"])

    def test_a_peer_killed(self):
        here = self.watch()
        there = self.watch("--announce", "there", among=self.there)
        here.wait_until("joined", "there")
        there.process.send_signal(signal.SIGKILL)
        begin = time.monotonic()
        here.wait_until("expired", "there")
        self.assertGreater(time.monotonic() - begin, 5)

    def test_who_has_the_key(self):
        """With a key those who have it see one another, and nobody else."""
        key, other = "ab" * 32, "cd" * 32
        self.watch("--announce", "friend", "--key", key, among=self.there)
        self.watch("--announce", "stranger", "--key", other, among=self.there)
        self.watch("--announce", "open", among=self.there)
        self.assertTrue(self.watch("--key", key).wait_until("joined", "friend")["authenticated"])
        self.assertEqual(set(self.ask("--key", key, "-w", "3s")[0]), {"friend"})
        self.assertEqual(set(self.ask("-w", "3s")[0]), {"open"})
        self.refuses(["peers", "--key", "ab"], 2, "16 to 64 bytes")
        self.refuses(["peers", "--key", "@/nonexistent"], 2, "cannot be read")

    def test_one_name_twice(self):
        here = self.watch()
        first = self.watch("--announce", "twin", among=self.there)
        self.assertFalse(here.wait_until("joined", "twin")["name_conflict"])
        second = self.watch("--announce", "twin")
        self.assertTrue(here.wait_until("joined", "twin")["name_conflict"])
        self.assertTrue(here.wait_until("changed", "twin")["name_conflict"])
        done = subprocess.run([GANNET, "peers"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertRegex(done.stdout, r"twin \([0-9a-f]{16}\) .*\ntwin \([0-9a-f]{16}\) ")
        second.end()
        here.wait_until("left", "twin")
        self.assertFalse(here.wait_until("changed", "twin")["name_conflict"])
        first.end()

    def test_a_process_that_was_stopped(self):
        """As a laptop that slept: longer than any lifetime it heard nobody, and gives nobody up for it."""
        there = self.watch("--announce", "there", among=self.there)
        here = self.watch("--announce", "here")
        here.wait_until("joined", "there")
        there.wait_until("joined", "here")
        here.process.send_signal(signal.SIGSTOP)
        there.wait_until("expired", "here")
        here.process.send_signal(signal.SIGCONT)
        there.wait_until("joined", "here")
        time.sleep(2)
        code, seen = here.end()
        self.assertEqual((code, [each["change"] for each in seen if each["event"] == "peer"]), (0, ["joined"]))

    def test_a_thousand(self):
        crowd = subprocess.Popen([*self.there, GANNET.parent / "tests/beacon_crowd", "1000", "far", *CROWD_ADDRESSES], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.kill, crowd)
        self.assertEqual(crowd.stdout.readline(), "ready\n")
        here = self.watch("--interface", "near")
        joined = set()
        while len(joined) < 1000:
            event = here.wait_for("peer")
            self.assertEqual(event["change"], "joined")
            joined.add(event["name"])
        self.assertEqual(joined, {f"peer{number}" for number in range(1000)})
        found, paths = self.ask("--interface", "near", "-w", "6s")
        self.assertGreater(len(found), 500)
        self.assertLessEqual(set(found), joined)
        self.assertIsNone(paths["advice"])

    def test_a_flood_of_forged_beacons(self):
        """100,000 of them from as many addresses. None becomes a peer, all are counted, memory stays; who is there stays, and who comes gets in."""
        here = self.watch("--interface", "near")
        there = self.watch("--announce", "there", among=self.there)
        here.wait_until("joined", "there")

        def resident():
            text = Path(f"/proc/{here.process.pid}/status").read_text(encoding="ascii")
            return int(text.split("VmRSS:")[1].split()[0]) * 1024
        before = resident()
        code = flood(self.there, count=100_000)
        self.assertEqual(code, 0)
        self.watch("--announce", "late", among=self.there)
        here.wait_until("joined", "late")
        self.assertLess(resident() - before, 64 << 20)
        time.sleep(2)
        status, seen = here.end()
        self.assertEqual(status, 0)
        self.assertEqual({(each["change"], each["name"]) for each in seen if each["event"] == "peer"}, {("joined", "there"), ("joined", "late")})
        drops = next(each for each in seen if each["event"] == "paths")["drops"]
        counted = sum(drops.get(name, 0) for name in ("unanswered", "candidate_evicted", "question_limit"))
        # What the receive queue had no room for was dropped by the kernel.
        self.assertTrue(1_000 < counted <= 100_100, drops)
        self.assertLess(drops["unanswered"], 60_000)


FLOOD = """
import random, socket, struct, sys, time
group, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(1)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.1.0.2"))
for i in range(count):
    beacon = b"GB\\1\\1\\1\\0\\0\\6" + struct.pack("!QIIIHHQQ", chance.getrandbits(63) + 1, 1, 1, 10000, 5000, 0, 0, 0) + b"forged"
    udp = struct.pack("!HHHH", 5000, port, 8 + len(beacon), 0)
    source = bytes([10, 1 + chance.randrange(250), chance.randrange(256), 1 + chance.randrange(254)])
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp) + len(beacon), 0, 0, 1, 17, 0, source, socket.inet_aton(group))
    try:
        raw.sendto(ip + udp + beacon, (group, 0))
    except BlockingIOError:
        pass
    if i % 50 == 0:
        time.sleep(0.001)
"""


def flood(among, count):
    return subprocess.run([*among, "/usr/bin/python3", "-c", FLOOD, GROUP, str(PORT), str(count)], check=False, timeout=3 * PATIENCE).returncode


if __name__ == "__main__":
    gannet.require_gannet()
    if os.geteuid() != 0 and not shutil.which("unshare"):
        skip("there is no unshare(1) here")
    enter_namespace()
    gannet.main()
