"""What the tests of the command share: how it is run, and a network namespace of its own to run in."""
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "support"))
from namespace import enter_namespace, skip  # for the tests, too

GANNET = Path(os.environ.get("GANNET_BUILD_DIR", "build/dev")) / "gannet"
PATIENCE = 60  # seconds; sanitizers on a busy machine are slow


def run(*arguments, stdin="", encoding=None, timeout=PATIENCE):
    """(exit status, standard output, standard error) of one command."""
    done = subprocess.run([GANNET, *map(str, arguments)], input=stdin, capture_output=True, text=True, encoding=encoding, timeout=timeout, check=False)
    return done.returncode, done.stdout, done.stderr


def for_any_user(folder):
    """The command where any user may run it: in `folder`, if need be."""
    os.chmod(folder, 0o755)
    if subprocess.run(["test", "-x", GANNET.resolve()], user=65534, group=65534, extra_groups=[], check=False).returncode == 0:
        return GANNET.resolve()
    shutil.copy(GANNET.resolve().parent / "libgannet-preload.so", folder)
    return shutil.copy(GANNET, folder)


def events(text, kind=None):
    objects = [json.loads(line) for line in text.splitlines()]
    return [each for each in objects if kind is None or each["event"] == kind]


class Running:
    """A command in the background, with --json: waits until it listens, ends it as Ctrl-C does, and gives its events."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([GANNET, *map(str, arguments), "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seen = []
        self.queue = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)  # always reads, so that the command never waits for us
        self.reader.start()
        self.wait_for("listening")

    def read(self):
        for line in self.process.stdout:
            self.queue.put(json.loads(line))
        self.queue.put(None)

    def wait_for(self, kind):
        """The next event of this kind; any other is only kept."""
        while (event := self.queue.get(timeout=PATIENCE)) is not None:
            self.seen.append(event)
            if event["event"] == kind:
                return event
        raise AssertionError(f"no event {kind}, only {self.seen}")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        return self.rest()

    def rest(self):
        """Its exit status and all its events, once it has ended."""
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()
        while (event := self.queue.get(timeout=PATIENCE)) is not None:
            self.seen.append(event)
        return code, self.seen


class Command(unittest.TestCase):
    def refuses(self, arguments, status, *words, stdin=""):
        """It ends with this status and one sentence on standard error that has these words; --json has the same sentence."""
        code, output, complaint = run(*arguments, stdin=stdin)
        self.assertEqual(code, status, complaint)
        self.assertEqual(output, "")
        self.assertRegex(complaint, r"\Agannet: [^\n]+\n\Z")
        for word in words:
            self.assertRegex(complaint, re.escape(word))


def demo(*arguments):
    """(exit status, standard output, standard error, size of the capture) of the demonstration."""
    require_gannet()
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "demo.pcapng"
        done = subprocess.run(["/usr/bin/python3", "-B", "demo/demo.py", "--gannet", GANNET.resolve(), "--capture", capture, *arguments],
                              capture_output=True, text=True, timeout=3 * PATIENCE, check=False, env=dict(os.environ, NO_COLOR="1"))
        return done.returncode, done.stdout, done.stderr, capture.stat().st_size if capture.exists() else 0


def check_shown(code, text, complaint, size, patterns):
    missing = [pattern for pattern in patterns if not re.search(pattern, text)]
    if code != 0 or complaint or missing or size < 1000 or "complains" in text:
        sys.exit(f"{text}\n{complaint}\nexit status {code}, a capture of {size} bytes, missing: {missing}")


def require_gannet():
    if not GANNET.exists():
        skip(f"{GANNET} was not built: the command needs fmt, CLI11 and nlohmann-json")


def main():
    require_gannet()
    unittest.main(verbosity=1)
