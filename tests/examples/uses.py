"""What the tests of the examples share: how a program of a use is run, over the kernel's sockets and under `gannet run`."""
import shutil
import socket
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

    host = LOCALHOST

    def at(self, port):
        """As the programs take it."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def over_ipv6(self):
        """From here on, where there is any; the kernel's sockets only."""
        self.host = "::1"
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
                probe.bind((self.host, 0))
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")

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


def main():
    if not example("tftp").exists():
        programs.skip("the examples are not built")
    programs.main()
