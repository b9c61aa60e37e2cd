"""`gannet run` with faults, a capture and a summary, as an ordinary user: what a program loses is chosen, repeatable, told, and on file."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from gannet import GANNET, PATIENCE, Command, events, run
from programs import PYTHON, Programs, echo_server, main, result_of, under

# Sends so many numbered datagrams, and prints those that came back.
CLIENT = """
import select, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for n in range(int(sys.argv[2])):
        s.sendto(b"%d" % n, ("127.0.0.1", int(sys.argv[1])))
    while select.select([s], [], [], float(sys.argv[3]))[0]:
        print(s.recv(1024).decode())
"""
# One question at a time, asked again where the answer does not come.
PATIENT_CLIENT = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(0.5)
    begun = time.monotonic(); asked = 0
    for n in range(8):
        while True:
            asked += 1
            s.sendto(b"%d" % n, ("127.0.0.1", int(sys.argv[1])))
            try:
                if s.recv(1024) == b"%d" % n: break
            except TimeoutError: pass
    print(asked, time.monotonic() - begun)
"""

# On a path of 1000 bytes: what each way of IP_MTU_DISCOVER sees, as the program tells it.
MTU_CLIENT = """
import errno, select, socket, struct, sys, time
IP_MTU_DISCOVER, IP_RECVERR, IP_MTU = 10, 11, 14
def attempt(call, *args):
    try: return call(*args)
    except OSError as error: return errno.errorcode[error.errno]
def U(discover, recverr=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(30)
    s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
    s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, recverr)
    s.connect(("127.0.0.1", int(sys.argv[1])))
    return s
mtu = lambda s: s.getsockopt(socket.IPPROTO_IP, IP_MTU)
off = U(0); off.send(bytes(973)); print("off", len(off.recv(2000)), mtu(off) > 1000)
do = U(2, 1); do.send(bytes(972)); print("do", len(do.recv(2000)))
do.send(b"A" * 973); print(select.select([do], [], [], 30)[0] == [do], attempt(do.send, b"x"), mtu(do))
data, control, flags, peer = do.recvmsg(2000, 200, socket.MSG_ERRQUEUE)
print(len(data) > 500, [struct.unpack("IBBBBII", c[2][:16]) for c in control] == [(errno.EMSGSIZE, 2, 3, 4, 0, 1000, 0)], peer[1] == int(sys.argv[1]))
want = U(1); want.send(bytes(973)); print("want", len(want.recv(2000)))
"""

# From one socket to another of the same process.
WORDS = """
import socket
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(("127.0.0.1", 0)); a.settimeout(0.3)
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(40): b.sendto(b"word", a.getsockname())
try:
    while True: a.recv(10)
except TimeoutError: pass
"""


def losses(summary, way=None, place=None):
    return sum(each["datagrams"] for each in summary["losses"] if way in (None, each["way"]) and place in (None, each["place"]))


class Impaired(Programs):
    def serve(self, *flags):
        server = self.start(*echo_server(), flags=flags)
        return int(server.stdout.readline())

    def ask(self, port, count, *flags, silence=2):
        """The answers, and the summary."""
        code, output, complaint = result_of(under(PYTHON, "-c", CLIENT, str(port), str(count), str(silence), flags=("--summary", "--json", *flags)))
        self.assertEqual((code, complaint), (0, ""))
        lines = output.splitlines()
        (summary,) = events(lines[-1], "program")
        self.assertEqual(summary["sent"] + summary["duplicated"],
                         summary["delivered"] + summary["left"] + summary["to_groups"] + losses(summary, "out") + summary["on_their_way"], summary)
        return lines[:-1], summary

    def test_loss_and_delay(self):
        """The seed's pair of programs, on a network that loses a fifth and takes 80 ms each way."""
        port = self.serve()
        code, output, _ = result_of(under(PYTHON, "-c", PATIENT_CLIENT, str(port), flags=("--loss", "20%", "--delay", "80ms", "--seed", "4")))
        self.assertEqual(code, 0)
        asked, seconds = output.split()
        self.assertGreater(int(asked), 8)
        self.assertGreater(float(seconds), 8 * 0.16)

    def test_the_same_seed_loses_the_same(self):
        port = self.serve()
        first, summary = self.ask(port, 100, "--loss", "20%", "--seed", "7")
        self.assertEqual(summary["sent"], 100)
        self.assertEqual(summary["received"], len(first))
        self.assertGreater(losses(summary, "out", "fault unit"), 5)
        self.assertGreater(losses(summary, "in", "fault unit"), 5)
        self.assertEqual(len(first), 100 - losses(summary))
        self.assertEqual(self.ask(port, 100, "--loss", "20%", "--seed", "7")[0], first)
        self.assertNotEqual(self.ask(port, 100, "--loss", "20%", "--seed", "8")[0], first)

    def test_each_way_for_itself(self):
        port = self.serve()
        answers, summary = self.ask(port, 20, "--loss-in", "100%", silence=0.5)
        self.assertEqual((answers, summary["delivered"], losses(summary, "in", "fault unit")), ([], 20, 20))
        answers, summary = self.ask(port, 20, "--loss", "100%", "--loss-out", "0", silence=0.5)
        self.assertEqual((answers, summary["delivered"]), ([], 20))
        answers, summary = self.ask(port, 20, "--duplicate-out", "100%")
        self.assertEqual((len(answers), summary["duplicated"], summary["delivered"]), (40, 20, 40))

    def test_where_datagrams_die(self):
        """At a peer that never reads, at a peer who loses them, at nobody's port."""
        deaf = self.start(PYTHON, "-c", """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True); time.sleep(600)""")
        _, summary = self.ask(int(deaf.stdout.readline()), 100, silence=0.2)
        self.assertGreater(losses(summary, "out", "peer's receive queue"), 50)
        self.assertEqual(summary["losses"][0]["reason"], "receive_queue_full")
        port = self.serve("--loss-in", "100%")
        _, summary = self.ask(port, 10, silence=0.2)
        self.assertEqual(losses(summary, "out", "peer's fault unit"), 10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            _, summary = self.ask(probe.getsockname()[1], 1, silence=0.2)
        self.assertEqual([(each["place"], each["reason"]) for each in summary["losses"]], [("network", "udp_no_socket")])

    def test_one_dies_in_its_own_send_queue(self):
        """A broadcast that is held for its delay, and no longer allowed when that is over."""
        program = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.sendto(b"x", ("127.255.255.255", 9)); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 0); time.sleep(2)"""
        code, output, complaint = result_of(under(PYTHON, "-c", program, flags=("--delay-out", "1s", "--summary", "--json")))
        self.assertEqual((code, complaint), (0, ""))
        (summary,) = events(output, "program")
        self.assertEqual([(each["way"], each["place"], each["reason"], each["datagrams"]) for each in summary["losses"]],
                         [("out", "own send queue", "send_refused", 1)])

    def test_the_summary_for_people(self):
        port = self.serve()
        code, output, complaint = result_of(under(PYTHON, "-c", CLIENT, str(port), "5", "0.2", flags=("--summary", "--loss-out", "100%")))
        self.assertEqual((code, output), (0, ""))
        self.assertRegex(complaint, r"\A-- sent 5: 0 delivered on this host; received 0\n-- lost +5 out fault unit +fault_loss: .*\(--loss\)\n\Z")

    def test_a_path_of_an_mtu(self):
        port = self.serve()
        program = [PYTHON, "-c", MTU_CLIENT, str(port)]
        code, output, complaint = result_of(under(*program, flags=("--mtu", "1000", "--summary", "--json")))
        self.assertEqual((code, complaint), (0, ""), output)
        *said, summary = output.splitlines()
        self.assertEqual(said, ["off 973 True", "do 972", "True EMSGSIZE 1000", "True True True", "want 973"])
        (summary,) = events(summary, "program")
        self.assertEqual([(each["place"], each["reason"], each["datagrams"]) for each in summary["losses"]], [("fault unit", "ip_too_big", 1)])

    def test_last_words(self):
        """What is delayed is delivered although the program that sent it is gone."""
        server = self.start(PYTHON, "-c", """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True); print(s.recv(100).decode(), flush=True)""")
        port = int(server.stdout.readline())
        say = f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'last words', ('127.0.0.1', {port}))"
        begun = time.monotonic()
        self.assertEqual(result_of(under(PYTHON, "-c", say, flags=("--delay", "1s")))[0], 0)
        self.assertEqual(server.stdout.readline(), "last words\n")
        self.assertGreater(time.monotonic() - begun, 1)

    def test_capture(self):
        port = self.serve()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "program.pcapng")
            answers, summary = self.ask(port, 50, "--loss-out", "50%", "--capture", path)
            code, output, complaint = run("print", "--json", path)
            self.assertEqual((code, complaint), (0, ""))
            packets = events(output, "captured")
            lost = losses(summary, "out", "fault unit")
            self.assertEqual(summary["captured"], len(packets))
            self.assertEqual(summary["missed"], 0)
            for packet in packets:
                self.assertRegex(packet["comment"], r"process \d+ \(python3\), socket \d+")
                self.assertIn(f"127.0.0.1.{port}", packet["line"])
            self.assertEqual(sum(packet["direction"] == "out" for packet in packets), 50)
            self.assertEqual(sum(packet["direction"] == "in" for packet in packets), len(answers))
            self.assertEqual(sum(packet["comment"].startswith("dropped: fault_loss") for packet in packets), lost)
            if shutil.which("tshark"):
                done = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.comment"], capture_output=True, text=True,
                                      timeout=PATIENCE, check=False)
                self.assertEqual(done.stdout.splitlines(), [packet["comment"] for packet in packets], done.stderr)

    def test_a_capture_with_no_room(self):
        """The program runs on, and ends as it would; that its capture is not whole is told."""
        port = self.serve()
        code, output, complaint = result_of(under(PYTHON, "-c", CLIENT, str(port), "5", "0.5", flags=("--capture", "/dev/full")))
        self.assertEqual((code, len(output.splitlines())), (0, 5))
        self.assertRegex(complaint, r"\A-- /dev/full is not whole: .*is the disk full.*\n\Z")

    def test_a_capture_that_nobody_reads_any_more(self):
        with tempfile.TemporaryDirectory() as folder:
            pipe = os.path.join(folder, "pipe")
            os.mkfifo(pipe)
            program = self.start("sh", "-c", f"echo ready; read go; {PYTHON} -c '{WORDS}'; exit 7", flags=("--capture", pipe),
                                 stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            os.close(os.open(pipe, os.O_RDONLY))
            self.assertEqual(program.stdout.readline(), "ready\n")
            _, complaint = program.communicate("go\n", PATIENCE)
            self.assertEqual(complaint, f"-- {pipe} is not whole: nobody reads the capture any more\n")
            self.assertEqual(program.returncode, 7)

    def test_a_capture_names_who_sent_what_died_later(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "program.pcapng")
            code, _, complaint = result_of(under(PYTHON, "-c", WORDS, flags=("--loss-in", "50%", "--capture", path)))
            self.assertEqual((code, complaint), (0, ""))
            packets = events(run("print", "--json", path)[1], "captured")
            self.assertEqual([each for each in packets if not re.search(r"process \d+ \(python3\), socket \d+", each["comment"])], [])
            dropped = [each["direction"] for each in packets if each["comment"].startswith("dropped: fault_loss")]
            self.assertEqual(dropped.count("out"), dropped.count("in"))
            self.assertGreater(dropped.count("in"), 0)

    def test_programs_within_programs(self):
        """A `gannet run` within a program has faults of its own, and the same hub."""
        port = self.serve()
        inner = under(PYTHON, "-c", CLIENT, str(port), "10", "0.5", flags=("--summary", "--json"))
        # Where `gannet` is built with the address sanitizer, it would be in front of every other library.
        sanitized = dict(os.environ, ASAN_OPTIONS="verify_asan_link_order=0")
        code, output, complaint = result_of(under(*map(str, inner), flags=("--loss", "100%")), env=sanitized)
        self.assertEqual((code, complaint), (0, ""))
        self.assertEqual(events(output.splitlines()[-1], "program")[0]["received"], 10)

    def test_nothing_waits_for_the_hub(self):
        """A shell's substitution ends with the program, although the hub that it started lives on."""
        self.assertEqual(run("hub", "down", "--via", "none")[0], 0)
        shell = f"echo $({GANNET.resolve()} run --via none --summary -- echo done)"
        self.assertEqual(result_of(["sh", "-c", shell])[:2], (0, "done\n"))

    def test_stopped_and_continued(self):
        process = self.start(PYTHON, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print('on again', flush=True)")
        self.assertTrue(os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1]))
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.stdout.readline(), "on again\n")
        self.assertEqual(process.wait(PATIENCE), 0)


class Refusals(Command):
    def test_what_makes_no_sense(self):
        self.refuses(["run", "--loss", "120%", "--", "true"], 2, "--loss takes")
        self.refuses(["run", "--burst", "1%,0", "--", "true"], 2, "a burst of losses that never ends")
        self.refuses(["run", "--via", "none", "--capture", "/nowhere/at/all", "--", "true"], 1, "cannot write /nowhere/at/all")
        self.refuses(["run", "--mtu", "67", "--", "true"], 2, "--mtu takes a whole number from 68 to 65535")
        self.refuses(["run", "ls", "--color"], 2, "no option --color", "write -- before PROGRAM")


if __name__ == "__main__":
    main()
