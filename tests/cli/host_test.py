"""send over hosts of ours on a wire in memory, and what hosts of ours are refused for."""
import shutil
import subprocess
import tempfile
from pathlib import Path

from gannet import GANNET, Command, Running, enter_namespace, events, main, run

PORT = 65433


def send(*arguments):
    return run("send", "--via", "memory", *arguments, "10.7.0.2", PORT)


class Memory(Command):
    def test_a_datagram_and_its_echo(self):
        code, output, complaint = send("-w", "20s", "--print", "--data", "Hello, UDP server!")
        self.assertEqual(code, 0, complaint)
        self.assertTrue(output.endswith("\nHello, UDP server!\n"))
        self.assertRegex(output, r"IP 10\.7\.0\.1\.\d+ > 10\.7\.0\.2\.65433: UDP, length 18\n")
        self.assertRegex(output, r"ARP, Request who-has 10\.7\.0\.2 tell 10\.7\.0\.1\n")

    def test_the_same_seed_loses_the_same(self):
        def answered(seed):
            _, output, _ = send("--ping", "-n", 40, "--interval", "1ms", "-w", "3s", "--loss-out", "30%", "--seed", seed, "--json")
            self.assertEqual(list(events(output)[-1]["drops"])[-1:], ["fault_loss"])
            return sorted(each["number"] for each in events(output, "received"))
        once = answered(7)
        self.assertEqual(once, answered(7))
        self.assertNotEqual(once, answered(8))
        self.assertTrue(0 < len(once) < 40)

    def test_each_fault_shows_in_the_summary(self):
        self.assertGreater(events(send("--ping", "-n", 60, "--interval", "1ms", "--corrupt-in", "50%", "--json")[1])[-1]["drops"]["udp_checksum_bad"], 0)
        twice = events(send("--size", 100, "-n", 40, "--duplicate-in", "50%", "-w", "2s", "--interval", "1ms", "--json")[1])[-1]
        self.assertGreater(twice["datagrams_in"], twice["replies"])
        late = events(send("--data", "x", "--delay", "30ms", "-w", "20s", "--json")[1])[-1]
        self.assertGreater(late["rtt_us"]["min"], 60_000)
        slow = events(send("--size", 1000, "-n", 100, "--rate-out", "1Mbit", "--queue-out", "4k", "-w", "1s", "--json")[1])[-1]
        self.assertGreater(slow["drops"]["fault_rate_queue_full"], 0)

    def test_a_pace_cures_a_slow_link(self):
        slow = ["--size", 972, "-n", 100, "--rate-out", "1Mbit", "--queue-out", "4k", "-w", "20s", "--json"]
        code, output, complaint = send(*slow, "--pace", "900kbit")
        self.assertEqual((code, complaint), (0, ""))
        paced = events(output)[-1]
        self.assertEqual((paced["datagrams_out"], paced["replies"]), (100, 100))
        self.assertNotIn("fault_rate_queue_full", paced["drops"])
        self.assertEqual(send("--size", 972, "-n", 40, "--pace", "800kbit", "--timeout", 0, "--print")[1].count("> 10.7.0.2.65433: UDP"), 40)

    def test_capture(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "wire.pcapng"
            self.assertEqual(send("-w", "20s", "--data", "x", "--capture", path)[0], 0)
            code, text, complaint = run("print", path)
        self.assertEqual((code, complaint), (0, ""))
        self.assertRegex(text, r"(?m) out IP 10\.7\.0\.1\.\d+ > 10\.7\.0\.2\.65433: UDP, length 1$")
        self.assertRegex(text, r"(?m) in  IP 10\.7\.0\.2\.65433 > 10\.7\.0\.1\.\d+: UDP, length 1$")

    def test_datagrams_and_packets(self):
        self.assertEqual(len(send("-w", "20s", "--size", "mtu", "-D", "--raw")[1]), 1472)
        self.assertEqual(len(send("-w", "20s", "--size", 65507, "--raw")[1]), 65507)
        self.refuses(["send", "--via", "memory", "--size", 1473, "-D", "10.7.0.2", PORT], 1, "the path's MTU is 1500, less 28 of headers leaves 1472")

    def test_broadcast_and_multicast_are_answered(self):
        for arguments in ["-b", "10.7.0.255"], ["-b", "255.255.255.255"], ["239.1.2.3"]:
            code, output, _ = run("send", "--via", "memory", "--data", "all", "-w", "2s", *arguments, PORT)
            self.assertEqual((code, output), (0, "all\n"), arguments)
        self.refuses(["send", "--via", "memory", "--data", "all", "10.7.0.255", PORT], 2, "with -b")


class Sealed(Command):
    def test_the_capture_has_the_keys(self):
        """On a TAP device, with loss: Wireshark reads in the capture what nobody could on the wire."""
        if not shutil.which("tshark"):
            self.skipTest("tshark is not installed")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sealed.pcapng"
            echo = Running("echo", "--dtls", "--via", "tap:gannet0,10.7.0.2/24", "--loss", "10%", "--capture", path, 4433)
            try:
                for command in "address add 10.7.0.1/24 dev gannet0", "link set gannet0 up":
                    subprocess.run(["ip", *command.split()], check=True)
                fingerprint = next(each["sha256"] for each in echo.seen if each["event"] == "fingerprint")
                code, output, complaint = run("send", "--dtls", "--fingerprint", fingerprint, "--data", "a secret", "-n", 20, "--interval", "1ms", "-w", "1s", "10.7.0.2", 4433)
                self.assertEqual(code, 0, complaint)
                self.assertGreaterEqual(output.count("a secret\n"), 5)
            finally:
                code, _ = echo.end()
            self.assertEqual(code, 0)
            self.assertNotIn(b"a secret", path.read_bytes())
            read = ["tshark", "-r", path, "-d", "udp.port==4433,dtls", "-T", "fields", "-e", "data.text", "-o", "data.show_as_text:TRUE", "-Y", "data"]
            said = subprocess.run(read, capture_output=True, text=True, check=True, timeout=60).stdout
            self.assertIn("a secret", said)


class Refusals(Command):
    def test_what_needs_a_link_of_ours(self):
        for flag in ["--loss", "5%"], ["--delay-in", "1ms"], ["--seed", "3"], ["--capture", "x.pcapng"], ["--print"]:
            self.refuses(["send", *flag, "127.0.0.1", PORT], 2, f"{flag[0]} works on a link of ours", "--via tap:NAME,ADDR/LEN")

    def test_texts_of_via_and_of_faults(self):
        self.refuses(["echo", "--via", "ether", PORT], 2, '--via takes kernel or tap:NAME,ADDR/LEN[,gw=ADDR]')
        self.refuses(["echo", "--via", "tap:x", PORT], 2, "--via tap:x: ")
        self.refuses(["echo", "--via", "tap:x,10.7.0.2", PORT], 2, "--via tap:x,10.7.0.2: ")
        self.refuses(["echo", "--via", "memory", PORT], 2, "that is for gannet send")
        self.refuses(["listen", "--via", "memory", PORT], 2, "that is for gannet send")
        self.refuses(["send", "--via", "memory", "--loss", "101%", "10.7.0.2", PORT], 2, "--loss takes a share")
        self.refuses(["send", "--via", "memory", "--capture", "/nowhere/x", "10.7.0.2", PORT], 1, "cannot write /nowhere/x: No such file")
        self.refuses(["send", "--via", "memory", "--data", "x", "::1", PORT], 2, "give an IPv4 address")
        self.refuses(["send", "--via", "memory", "--data", "x", "192.0.2.1", PORT], 1, "no route leads to 192.0.2.1:65433", "gw=ADDR")
        self.refuses(["send", "--via", "memory", "--data", "x", "-s", "10.9.9.9", "10.7.0.2", PORT], 1, "10.9.9.9 is no address of this host")

    def test_a_missing_privilege_names_the_command_that_grants_it(self):
        without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", GANNET, "echo", "--via", "tap:gannet9,10.7.0.2/24", str(PORT)]
        done = subprocess.run(without, capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertRegex(done.stderr, "sudo ip tuntap add dev gannet9 mode tap user [^ ]+ && sudo ip link set gannet9 up  ")


if __name__ == "__main__":
    enter_namespace()
    main()
