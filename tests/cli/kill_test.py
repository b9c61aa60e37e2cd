"""Programs as they are, killed under `gannet run`, and hubs killed under them: nobody else loses a datagram, and nobody hangs."""
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import gannet
from gannet import GANNET, PATIENCE, Command, events, run, skip

# Tells how many datagrams went to and fro, a line for each hundred, until its input ends.
HONEST = """
import os, select, socket, sys
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(("127.0.0.1", 0))
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.settimeout(60)
number = 0
while not select.select([0], [], [], 0)[0]:
    b.sendto(b"%d" % number, a.getsockname())
    data, peer = a.recvfrom(100); a.sendto(data, peer)
    assert b.recv(100) == b"%d" % number
    number += 1
    if number % 100 == 0: print(number, flush=True)
print("end", flush=True)
"""
# Does something with sockets, again and again, in a child too.
VICTIM = """
import os, socket, sys
print("ready", flush=True)
while True:
    s = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for each in s: each.bind(("127.0.0.1", 0))
    child = os.fork()
    for i in range(20): s[i % 3].sendto(b"x" * 1000, s[(i + 1) % 3].getsockname())
    if child == 0: os._exit(0)
    os.waitpid(child, 0)
    for each in s: each.close()
"""
# Waits for what never comes, and tells what ended it.
WAITING = """
import errno, select, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
print("ready", flush=True)
try: WAIT
except OSError as error: print(errno.errorcode[error.errno], flush=True)
try: s.sendto(b"x", ("127.0.0.1", 9))
except OSError as error: print(errno.errorcode[error.errno], flush=True)
"""
WAITS = ["s.recv(10)", "select.select([s], [], []) and s.recv(10)", "s.settimeout(60) or s.recv(10)"]


class Kills(Command):
    via = "none"

    def hub(self):
        code, output, complaint = run("hub", "status", "--via", self.via, "--json")
        assert code == 0, complaint
        return events(output)[0]

    def start(self, program):
        process = subprocess.Popen([GANNET.resolve(), "run", "--via", self.via, "--", "/usr/bin/python3", "-c", program], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.addCleanup(self.kill, process)
        self.assertTrue(process.stdout.readline())
        return process

    def kill(self, process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        process.stdin.close()
        process.stdout.close()

    def kill_victims(self, held):
        """At random moments; what they held is given back, down to what was held before."""
        before = held()
        chance = random.Random(20261123)
        for _ in range(15):
            victim = self.start(VICTIM)
            time.sleep(chance.random() / 20)
            self.kill(victim)
        end = time.monotonic() + PATIENCE
        while held() != before and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(held(), before)

    def end(self, honest):
        honest.stdin.close()
        self.assertEqual(honest.stdout.read().split()[-1], "end")
        self.assertEqual(honest.wait(PATIENCE), 0)

    def test_programs(self):
        honest = self.start(HONEST)
        before = self.hub()
        self.kill_victims(lambda: self.hub()["sockets"])
        self.assertEqual(self.hub()["process"], before["process"])
        self.end(honest)

    def test_hubs(self):
        seen = set()
        for _ in range(3):
            waiting = [self.start(WAITING.replace("WAIT", wait)) for wait in WAITS]
            seen.add(self.hub()["process"])
            os.kill(self.hub()["process"], signal.SIGKILL)
            for each in waiting:
                self.assertEqual(each.stdout.read().split(), ["ENETDOWN", "ENETDOWN"])
                self.assertEqual(each.wait(PATIENCE), 0)
        self.assertEqual(len(seen), 3)


# The same with a socket outside: given its address, and then as HONEST does.
WITH_OUTSIDE = """
import select, socket, sys
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.settimeout(60)
number = 0
while not select.select([0], [], [], 0)[0]:
    b.sendto(b"%d" % number, ("127.0.0.1", PORT))
    assert b.recv(100) == b"%d" % number
    number += 1
    if number % 100 == 0: print(number, flush=True)
print("end", flush=True)
"""
BOUND = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
s.recv(10)
"""


class KillsBesideTheKernel(Kills):
    """The hub has the kernel's ports: whoever is killed, they are free again, and a program outside does not notice."""
    via = "kernel"

    def kernel_sockets(self):
        """How many UDP sockets of the kernel's the hub has."""
        inodes = {line.split()[9] for line in Path("/proc/net/udp").read_text().splitlines()[1:]}
        count = 0
        for each in Path(f"/proc/{self.hub()['process']}/fd").iterdir():
            try:
                count += os.readlink(each)[len("socket:["):-1] in inodes
            except FileNotFoundError:
                pass
        return count

    def test_programs_beside_one_outside(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
            outside.bind(("127.0.0.1", 0))
            threading.Thread(target=self.echo, args=(outside,), daemon=True).start()
            honest = self.start(WITH_OUTSIDE.replace("PORT", str(outside.getsockname()[1])))
            self.assertGreater(self.kernel_sockets(), 0)
            self.kill_victims(self.kernel_sockets)
            self.end(honest)
            outside.sendto(b"", outside.getsockname())  # ends the thread

    @staticmethod
    def echo(outside):
        while True:
            data, peer = outside.recvfrom(100)
            if not data:
                return
            outside.sendto(data, peer)

    def test_ports(self):
        for killed in "program", "hub":
            with self.subTest(killed=killed):
                program = subprocess.Popen([GANNET.resolve(), "run", "--via", "kernel", "--", "/usr/bin/python3", "-c", BOUND], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
                self.addCleanup(self.kill, program)
                port = int(program.stdout.readline())
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
                    self.assertRaises(OSError, outside.bind, ("127.0.0.1", port))
                    if killed == "program":
                        self.kill(program)
                    else:
                        os.kill(self.hub()["process"], signal.SIGKILL)
                    end = time.monotonic() + PATIENCE
                    while True:
                        try:
                            outside.bind(("127.0.0.1", port))
                            break
                        except OSError:
                            self.assertLess(time.monotonic(), end, "the port is never free again")
                            time.sleep(0.01)


if __name__ == "__main__":
    gannet.require_gannet()
    if not (GANNET.resolve().parent / "libgannet-preload.so").exists():
        skip("libgannet-preload.so was not built")
    os.environ["GANNET_SESSION"] = f"kill-test-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        tests = unittest.main(verbosity=1, exit=False)
        for via in "none", "kernel":
            run("hub", "down", "--via", via)
        left = os.listdir(os.path.join(folder, "gannet"))
    sys.exit(not tests.result.wasSuccessful() or left != ["lock"])
