"""`gannet stat`: what the hub has, at the moment."""
import os

from gannet import events, run
from programs import PYTHON, Programs, main

PROGRAM = """
import socket, time
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(("127.0.0.1", 0))
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.connect(a.getsockname())
a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
a.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.1.2.3") + socket.inet_aton("127.0.0.1"))
for _ in range(100): b.send(bytes(500))
print(a.getsockname()[1], b.getsockname()[1], flush=True)
time.sleep(600)
"""


def stat():
    code, output, complaint = run("stat", "--via", "none", "--json")
    assert code == 0, complaint
    return events(output, "stat")[0]


class Stat(Programs):
    def test_what_a_program_has(self):
        program = self.start(PYTHON, "-c", PROGRAM)
        first, second = (f"127.0.0.1:{port}" for port in program.stdout.readline().split())
        self.wait_until(lambda: self.carried()[0] == 100)
        seen = stat()
        of = {socket["local"]: socket for socket in seen["sockets"]}
        a, b = of[first], of[second]
        self.assertEqual((a["program"], a["remote"], b["remote"]), ("python3", None, first))
        self.assertEqual(a["process"], b["process"])
        self.assertEqual((b["datagrams_out"], b["datagrams_in"], a["datagrams_out"]), (100, 0, 0))
        self.assertGreater(a["datagrams_in"], 0)
        self.assertEqual(a["datagrams_in"] + a["drops"]["receive_queue_full"], 100)
        self.assertGreaterEqual(seen["drops"]["receive_queue_full"], a["drops"]["receive_queue_full"])
        self.assertGreater(a["receive_queue"], 0)
        self.assertEqual(seen["counters"]["udp_out_datagrams"] - self.before["datagrams_out"], 100)
        self.assertEqual([(group["group"], group["interface"], group["socket"]) for group in seen["groups"]], [("239.1.2.3", "lo", a["id"])])
        self.assertEqual([(link["name"], link["addresses"]) for link in seen["links"]], [("lo", ["127.0.0.1/8"])])
        code, text, _ = run("stat", "--via", "none")
        self.assertEqual(code, 0)
        for words in first, "python3", "group 239.1.2.3 on lo", "dropped: receive_queue_full":
            self.assertIn(words, text)

    def test_sockets_come_and_go(self):
        program = self.start(PYTHON, "-c", PROGRAM)
        program.stdout.readline()
        self.assertEqual(len(stat()["sockets"]), 2)
        self.end(program)
        self.wait_until(lambda: not stat()["sockets"])

    def test_programs_with_faults_are_marked(self):
        program = self.start(PYTHON, "-c", PROGRAM, flags=("--delay", "1ms"))
        program.stdout.readline()
        self.assertTrue(all(socket["interposed"] for socket in stat()["sockets"]))
        self.assertEqual(stat()["hub"]["programs"], 2)

    def test_no_hub(self):
        os.environ["GANNET_SESSION"] += "-none"
        self.addCleanup(os.environ.__setitem__, "GANNET_SESSION", os.environ["GANNET_SESSION"][:-5])
        self.refuses(["stat", "--via", "none"], 1, "no hub of yours runs here")


if __name__ == "__main__":
    main()
