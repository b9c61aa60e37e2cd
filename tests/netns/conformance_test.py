"""The rows of docs/CONFORMANCE.md that a frame on a wire can prove, tried on our host from outside: one process for all themes, each a file here.

By hand: /usr/bin/python3 tests/netns/conformance_test.py [-v] [WORD ...] runs the tests whose Class.test_name contains one of the words.
"""
import os
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "support")]
from namespace import enter_namespace, skip, without_ipv6  # the path leads there


class Recorder(unittest.TextTestResult):
    """Keeps what `./dev test` reads: the results of each test, as GoogleTest writes them."""

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def record(self, test, kind=None, text=""):
        names = test.id().split(".")
        suite, name = names[-2:] if hasattr(test, "_testMethodName") else (names[-1].rstrip(")"), "in_its_beginning_or_end")
        case = ElementTree.SubElement(self.xml, "testcase", classname=suite, name=name, status="run", result="skipped" if kind == "skipped" else "completed",
                                      time=f"{time.monotonic() - self.begun:.3f}")
        if kind:
            ElementTree.SubElement(case, kind, message=text)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.record(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.record(test, "failure", self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.record(test, "failure", self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.record(test, "skipped", reason)

    begun = time.monotonic()
    xml = ElementTree.Element("testsuite")


def write_results():
    """Where GoogleTest programs are told to write theirs."""
    where = os.environ.get("GTEST_OUTPUT", "").removeprefix("xml:")
    if where:
        ElementTree.ElementTree(Recorder.xml).write(Path(where) / f"{HERE.name}_{Path(__file__).stem}.xml")


def each_test(suite):
    for test in suite:
        yield from each_test(test) if isinstance(test, unittest.TestSuite) else [test]


def main():
    enter_namespace()
    try:
        import scapy.layers.inet  # takes seconds, and all themes share them
    except ImportError:
        skip("no scapy (Debian: python3-scapy)")
    for action in ("add", "del"):
        done = subprocess.run(["ip", "tuntap", action, "dev", "gannet0", "mode", "tap"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            skip(f"no TAP device: {done.stderr.strip()}")
    without_ipv6()

    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    themes = sorted(path.stem for path in HERE.glob("*.py") if path.name != Path(__file__).name)
    loaded = unittest.defaultTestLoader.loadTestsFromNames(themes)
    chosen = unittest.TestSuite(test for test in each_test(loaded) if not words or any(word in test.id() for word in words))
    result = unittest.TextTestRunner(resultclass=Recorder, verbosity=2 if "-v" in sys.argv else 1).run(chosen)
    write_results()
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
