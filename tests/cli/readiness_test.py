"""poll, select, epoll and their twins with a signal mask, on a socket of ours: event by event what they say of the kernel's, in the same run. The cases are in readiness.py."""
from programs import PYTHON, Programs, main, result_of, under

CASES = ["-B", "tests/cli/readiness.py"]

# The kernel's loopback takes whatever is sent: only a pace fills a send buffer, and ours keeps it without a queueing discipline.
FULL = """
import errno, select, socket, time
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(("127.0.0.1", 0))
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.connect(a.getsockname())
SO_MAX_PACING_RATE = 47
b.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 100)
poller = select.poll(); poller.register(b, select.POLLOUT)
level = select.epoll(); level.register(b, select.EPOLLOUT)
edge = select.epoll(); edge.register(b, select.EPOLLOUT | select.EPOLLET); edge.poll(30)
waits = lambda: (bool(poller.poll(0)), bool(select.select([], [b], [], 0)[1]), bool(level.poll(0)), bool(edge.poll(0)))
print("room", waits())
b.setblocking(False)
try:
    for _ in range(100000): b.send(bytes(1000))
except OSError as error: print(errno.errorcode[error.errno], waits())
b.settimeout(0.05)
try: b.send(b"x")
except TimeoutError: print("timed out")
b.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, -1)
print("edge", bool(edge.poll(30)), "level", bool(level.poll(30)))
b.settimeout(30); b.send(b"x"); print("sent")
"""


class Readiness(Programs):
    def test_every_event_is_linuxs(self):
        code, kernel, complaint = result_of([PYTHON, *CASES])
        self.assertEqual(code, 0, complaint)
        code, ours, complaint = result_of(under(PYTHON, *CASES))
        self.assertEqual(ours.splitlines(), kernel.splitlines(), complaint)
        self.assertEqual(code, 0, complaint)
        self.assertGreater(self.carried()[1], 20)

    def test_a_full_send_buffer(self):
        self.assertEqual(result_of(under(PYTHON, "-c", FULL)), (0, """\
room (True, True, True, False)
EAGAIN (False, False, False, False)
timed out
edge True level True
sent
""", ""))


if __name__ == "__main__":
    main()
