"""The example of agents as a user runs it: on one machine, across two network namespaces, with multicast blocked, and one killed."""
import re
import shutil
import signal
import subprocess

from uses import PATIENCE, Uses, example
from gannet import enter_namespace, main, skip


class Agents(Uses):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.there_process = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up; echo ready; exec sleep 1000"], stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.there_process.stdout.close)
        cls.addClassCleanup(cls.there_process.wait)
        cls.addClassCleanup(cls.there_process.kill)
        cls.there_process.stdout.readline()
        cls.there = ["nsenter", "-t", str(cls.there_process.pid), "-n"]
        for command in (f"ip link add near type veth peer name far netns {cls.there_process.pid}", "ip addr add 10.3.0.1/24 dev near", "ip link set near up"):
            subprocess.run(command.split(), check=True)
        for command in "ip addr add 10.3.0.2/24 dev far", "ip link set far up":
            subprocess.run([*cls.there, *command.split()], check=True)

    def agent(self, *words, among=()):
        return self.start(*among, example("agent"), *words)

    def said_at_the_end(self, agent):
        """All that it said, once it has ended."""
        text = agent.stdout.read()
        self.assertEqual(agent.wait(PATIENCE), 0, text)
        return text

    def hears(self, text, *sensors):
        for sensor in sensors:
            self.assertRegex(text, rf"(?m)^{sensor} joined")
            counts = re.search(rf"(?m)^from {sensor}: (\d+) samples, (\d+) lost$", text)
            self.assertTrue(counts, text)
            self.assertGreater(int(counts[1]), 20, text)

    def test_on_one_machine_and_across_namespaces(self):
        sensors = [self.agent("thermo", "sensor", 8), self.agent("lidar", "sensor", 8, among=self.there)]
        planner = self.agent("planner", "planner", 6, among=self.there)
        self.hears(self.said_at_the_end(planner), "thermo", "lidar")
        for sensor in sensors:
            text = self.said_at_the_end(sensor)
            self.assertRegex(text, r"planner changed, status: hears [12]")
            self.assertIn("planner left", text)

    def test_multicast_blocked(self):
        if not shutil.which("nft"):
            self.skipTest("nft is not installed")
        block = 'table inet agents { chain in { type filter hook input priority 0; iifname "near" ip daddr 224.0.0.0/4 drop; iifname "near" ip6 daddr ff00::/8 drop; }; ' \
                'chain out { type filter hook output priority 0; oifname "near" ip daddr 224.0.0.0/4 drop; oifname "near" ip6 daddr ff00::/8 drop; }; }'
        subprocess.run(["nft", block], check=True)
        self.addCleanup(subprocess.run, ["nft", "delete", "table", "inet", "agents"], check=True)
        planner = self.agent("planner", "planner", 8, among=self.there)
        planner.stdout.readline()
        sensor = self.agent("thermo", "sensor", 5, "10.3.0.2")
        self.hears(self.said_at_the_end(planner), "thermo")
        self.said_at_the_end(sensor)

    def test_one_killed(self):
        planner = self.agent("planner", "planner", 18)
        sensor = self.agent("thermo", "sensor", 60, among=self.there)
        while not planner.stdout.readline().startswith("thermo joined"):
            pass
        sensor.send_signal(signal.SIGKILL)
        self.assertIn("thermo expired", self.said_at_the_end(planner))


if not example("agent").exists():
    skip("the examples are not built")
enter_namespace()
main()
