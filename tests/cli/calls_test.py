"""A C program that makes every call of socket(7) and udp(7), right and wrong: on our stack each ends as it does on the kernel."""
import os
import pathlib
import shutil
import subprocess
import tempfile

from gannet import skip
from programs import Programs, main, result_of

# Options that our stack does not have; it says so.
REFUSED = ("SO_KEEPALIVE", "SO_DONTROUTE", "SO_PRIORITY", "SO_RCVLOWAT", "SO_OOBINLINE", "IP_FREEBIND", "IP_RECVORIGDSTADDR", "IP_HDRINCL", "IP_RETOPTS")


def lines(output):
    return [line for line in output.splitlines() if not any(f"get {name} " in line for name in REFUSED)]


class Calls(Programs):
    def setUp(self):
        super().setUp()
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            skip("there is no C compiler")
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.program = os.path.join(folder, "calls")
        subprocess.run([compiler, "-O1", "-w", "-o", self.program, pathlib.Path(__file__).parent / "calls.c"], check=True)

    def same(self):
        code, expected, complaint = result_of([self.program, "inet6"])
        self.assertEqual((code, complaint), (0, ""))
        process = self.start(self.program, "inet6")
        self.assertEqual(lines(process.communicate(timeout=60)[0]), lines(expected))
        self.assertEqual(process.returncode, 0)
        self.assertGreater(self.carried()[1], 40)
        return expected

    def test_calls(self):
        expected = self.same()
        self.assertGreater(len(expected.splitlines()), 400)

    def test_refused_options(self):
        output = self.start(self.program).communicate(timeout=60)[0]
        told = [line for line in output.splitlines() if any(f"get {name} " in line for name in REFUSED)]
        self.assertEqual(len(told), 2 * len(REFUSED))
        self.assertEqual([line for line in told if "ENOPROTOOPT" not in line], [])


class CallsBesideTheKernel(Calls):
    via = "kernel"


main()
