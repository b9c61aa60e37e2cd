"""CPython's own tests of datagram sockets, as Debian ships them, under `gannet run --via none`: test by test the results that the kernel gives."""
import re
import subprocess

from gannet import skip
from programs import PYTHON, Programs, main, result_of

# The 41 tests of UDP over IPv4, and the others of test_socket that open datagram sockets.
UDP = ["BasicUDPTest", "UDPTimeoutTest", "SendmsgUDPTest", "RecvmsgUDPTest", "RecvmsgIntoUDPTest"]
SOCKETS = ["GeneralModuleTests", "InheritanceTest", "InterruptedRecvTimeoutTest", "InterruptedSendTimeoutTest", "TestExceptions"]
UDPLITE = ["BasicUDPLITETest", "UDPLITETimeoutTest", "SendmsgUDPLITETest", "RecvmsgUDPLITETest", "RecvmsgIntoUDPLITETest"]
# Of other modules: those tests that have to do with datagrams.
EVENTS = ["test.test_asyncio.test_events", "test.test_asyncio.test_base_events", "test.test_asyncio.test_sock_lowlevel",
          "test.test_asyncio.test_selector_events", "-k", "datagram", "-k", "dgram", "-k", "recvfrom", "-k", "sendto"]
OTHERS = ["test.test_timeout", "test.test_socketserver", "test.test_logging", "-k", "UDP", "-k", "DatagramHandler", "-k", "SysLogHandlerTest.*"]

# test_selectors with a pair of UDP sockets wherever it asks for a pair of sockets. Without the test that opens more than a hub gives one process.
SELECTORS = """
import socket, sys, unittest
import test.test_selectors as tests
def udp_pair():
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for each in pair: each.bind(("127.0.0.1", 0))
    for each, other in zip(pair, reversed(pair)): each.connect(other.getsockname())
    return pair
tests.socketpair = udp_pair
del tests.ScalableSelectorMixIn.test_above_fd_setsize
unittest.main(tests, argv=["test_selectors", "-v", "-k", "Epoll", "-k", "Poll", "-k", "Select"])
"""


def results(complaint):
    """What `unittest -v` says came of each test."""
    found = dict(re.findall(r"^(\w+ \([\w.]+\))[^\0]*? \.\.\. ?[^\0]*?(ok|FAIL|ERROR|skipped .*|expected failure)$", complaint, re.MULTILINE))
    return {test: re.sub(r"0x[0-9a-f]+", "", result) for test, result in found.items()}


class CPython(Programs):
    def same(self, *arguments, program=None):
        """Runs the tests on the kernel and on ours at the same time; what came of each is equal."""
        command = [PYTHON, "-W", "ignore", *(program or ("-m", "unittest", "-v")), *arguments]
        ours = self.start(*command, stderr=subprocess.PIPE)
        complaint = result_of(command, timeout=200)[2]
        expected, found = results(complaint), results(ours.communicate(timeout=200)[1])
        # Native IPv6 ends as on a host without IPv6 addresses.
        expected, found = ({test: each[test] for test in each if "ipv6" not in test.lower()} for each in (expected, found))
        self.assertGreater(len(expected), 0, complaint)
        self.assertEqual({test: result for test, result in found.items() if expected.get(test) != result}, {})
        self.assertEqual(found.keys(), expected.keys())
        return expected

    def test_udp(self):
        # Each test but those that expect an error exchanges datagrams.
        tests = self.same(*(f"test.test_socket.{each}" for each in UDP))
        self.assertEqual(len(tests), 41)
        self.assertEqual(set(tests.values()), {"ok"})
        self.assertGreater(self.carried()[1], 30)

    def test_sockets(self):
        self.same(*(f"test.test_socket.{each}" for each in SOCKETS))

    def test_udplite_is_the_kernels(self):
        self.same(*(f"test.test_socket.{each}" for each in UDPLITE))
        self.assertEqual(self.carried(), (0, 0))

    def test_asyncio(self):
        self.same(*EVENTS)
        self.assertGreater(self.carried()[1], 10)

    def test_selectors(self):
        self.same(program=("-c", SELECTORS))
        self.assertGreater(self.carried()[1], 10)

    def test_timeouts_servers_and_logs(self):
        self.same(*OTHERS)
        self.assertGreater(self.carried()[1], 3)


if __name__ == "__main__":
    if subprocess.run([PYTHON, "-c", "import test.test_socket"], capture_output=True, check=False).returncode != 0:
        skip("CPython's tests (libpython3.11-testsuite) are not installed")
    main()
