"""What the tests of `gannet run` share: programs under a hub of the test's own, whose counters tell what our stack carried."""
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import gannet
from gannet import GANNET, PATIENCE, Command, events, run, skip

PYTHON = "/usr/bin/python3"  # Debian's; the one in PATH may be another
# A program that does what it is told, line by line, and says what became of it: the value, or the error's name.
AGENT = """
import errno, fcntl, os, select, struct, sys
from socket import *
def U(*address, reuse=0):
    s = socket(AF_INET, SOCK_DGRAM)
    s.setsockopt(SOL_SOCKET, SO_REUSEADDR, reuse)
    s.settimeout(30)
    if address: s.bind(address)
    return s
def quiet(s):
    s.settimeout(0.3)
    try: return s.recv(65536)
    except TimeoutError: return None
    finally: s.settimeout(30)
print("ready", flush=True)
for line in sys.stdin:
    try:
        try: value = eval(line)
        except SyntaxError: value = exec(line)
    except OSError as error: value = errno.errorcode.get(error.errno, repr(error))
    print(repr(value), flush=True)
"""

# The seed's pair: the calls that anybody's first UDP programs make. examples/echo_server.py HOST PORT; of port 0 the server prints which it got.
EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def echo_server(host="127.0.0.1", port=0):
    return [PYTHON, "-B", str(EXAMPLES / "echo_server.py"), host, str(port)]


def echo_client(host, port, patience=30):
    return [PYTHON, "-B", str(EXAMPLES / "echo_client.py"), host, str(port), str(patience)]


def status(via="none"):
    code, output, complaint = run("hub", "status", "--via", via, "--json")
    assert code == 0, complaint
    return events(output)[0]


def under(*program, via="none", flags=()):
    return [GANNET.resolve(), "run", "--via", via, *flags, "--", *program]


def result_of(command, **more):
    more = {"timeout": PATIENCE, "text": True, **more}
    done = subprocess.run(command, capture_output=True, check=False, **more)
    return done.returncode, done.stdout, done.stderr


class Agent:
    """A process of that program, to be called with a line."""

    def __init__(self, process):
        self.process = process
        assert process.stdout.readline() == "ready\n"

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return eval(self.process.stdout.readline())  # what our own program said


class Programs(Command):
    via = "none"

    def setUp(self):
        # Keeps the hub, and so its counters, between the programs.
        self.keeper = subprocess.Popen(under("sleep", "600", via=self.via))
        self.addCleanup(self.end, self.keeper)
        self.wait_until(lambda: run("hub", "status", "--via", self.via)[0] == 0)
        self.before = status(self.via)

    def wait_until(self, true):
        end = time.monotonic() + PATIENCE
        while not true():
            self.assertLess(time.monotonic(), end, "it did not happen in time")
            time.sleep(0.05)

    def end(self, process):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
                pipe.close()

    def start(self, *program, flags=(), **more):
        process = subprocess.Popen(under(*program, via=self.via, flags=flags), **{"stdout": subprocess.PIPE, "text": True, **more})
        self.addCleanup(self.end, process)
        return process

    def carried(self):
        """How many datagrams our stack has sent and received since the test began."""
        after = status(self.via)
        return after["datagrams_out"] - self.before["datagrams_out"], after["datagrams_in"] - self.before["datagrams_in"]


def main():
    gannet.require_gannet()
    if not (GANNET.resolve().parent / "libgannet-preload.so").exists():
        skip("libgannet-preload.so was not built")
    # A hub of this test's own, beside one that its user may have.
    os.environ["GANNET_SESSION"] = f"{os.path.basename(sys.argv[0])}-{os.getpid()}"
    tests = unittest.main(module="__main__", verbosity=1, exit=False)
    for via in {"none", "kernel", *(each.via for each in Programs.__subclasses__())}:
        run("hub", "down", "--via", via)
    sys.exit(not tests.result.wasSuccessful())
