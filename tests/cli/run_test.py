"""Programs as they are, under `gannet run --via none`: what they say to each other is carried by our stack, as the hub's counters show."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

from gannet import PATIENCE, Command, for_any_user, run
from programs import PYTHON, Programs, echo_client, echo_server, main, result_of, under

# Two sockets of one process; `wait` is each way of waiting in turn: nothing comes at first, then one datagram, then nothing again.
WAITS = """
import select, socket
def by_select(s, wait): return bool(select.select([s], [], [], wait)[0])
def by_poll(s, wait):
    p = select.poll(); p.register(s, select.POLLIN); return bool(p.poll(wait * 1000))
def by_epoll(s, wait):
    with select.epoll() as e:
        e.register(s, select.EPOLLIN); return bool(e.poll(wait))
for ready in by_select, by_poll, by_epoll:
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert not ready(a, 0)
    a.bind(("127.0.0.1", 0))
    assert not ready(a, 0.01)
    b.sendto(b"one", a.getsockname())
    assert ready(a, 30)
    assert a.recv(10) == b"one"
    assert not ready(a, 0.01)
    assert select.select([], [b], [], 0)[1]
    a.close(); b.close()
print("waited")
"""
# What Linux says, call by call: run on the kernel and on ours, the same is printed.
SEMANTICS = """
import array, errno, fcntl, os, signal, socket, struct, termios, time
def attempt(call, *args):
    try: return call(*args)
    except OSError as error: return errno.errorcode[error.errno]
U = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a, b = U(), U()
print(a.family, a.type, a.getsockname(), attempt(a.getpeername), attempt(U().send, b"x"))
print([a.getsockopt(socket.SOL_SOCKET, o) for o in (socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_ERROR, socket.SO_REUSEADDR)])
a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10000); print(a.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
a.bind(("127.0.0.1", 0)); port = a.getsockname()[1]
print(attempt(a.bind, ("127.0.0.1", 0)), attempt(b.bind, ("127.0.0.1", port)), attempt(b.bind, ("192.0.2.1", 0)))
print(attempt(b.sendto, b"x", ("127.0.0.1", 0)), attempt(b.sendto, b"x" * 65508, ("127.0.0.1", port)))
print(attempt(b.setsockopt, socket.SOL_SOCKET, 9999, 1), attempt(b.setsockopt, socket.IPPROTO_IP, socket.IP_TTL, 256))
b.sendto(b"", ("127.0.0.1", port)); print(a.recv(10))
b.sendto(b"0123456789", ("127.0.0.1", port))
size = array.array("i", [0]); import select; select.select([a], [], []); fcntl.ioctl(a, termios.FIONREAD, size); print(size[0])
print(a.recv(4, socket.MSG_PEEK), len(a.recv(4, socket.MSG_PEEK | socket.MSG_TRUNC)), a.recvmsg(4)[0::2])
print(attempt(a.recv, 10, socket.MSG_DONTWAIT))
a.setblocking(False); print(attempt(a.recv, 10)); a.setblocking(True)
a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 20000)); print(attempt(a.recv, 10))
a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
IP_RECVTTL, IP_RECVTOS, IP_PKTINFO = 12, 13, 8
for option in IP_RECVTTL, IP_RECVTOS, IP_PKTINFO: a.setsockopt(socket.IPPROTO_IP, option, 1)
b.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x10)
b.sendmsg([b"two ", b"pieces"], [(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 7))], 0, ("127.0.0.1", port))
print(a.recvmsg(100, 200)[0:3])
b.sendto(b"cut", ("127.0.0.1", port)); print(a.recvmsg(100, 40)[2] & socket.MSG_CTRUNC != 0)
b.connect(("127.0.0.1", port)); print(b.getpeername()[1] == port); b.send(b"connected"); print(a.recv(100))
print(attempt(a.shutdown, socket.SHUT_WR), attempt(b.shutdown, socket.SHUT_WR), attempt(b.send, b"x"))
c = U(); c.bind(("127.0.0.1", 0)); gone = c.getsockname(); c.close()
d = U(); d.connect(gone); d.send(b"to nobody"); print(attempt(d.recv, 10))
e = U(); e.setsockopt(socket.IPPROTO_IP, 11, 1); e.sendto(b"quoted", gone)
time.sleep(0.2); data, control, flags, peer = e.recvmsg(100, 200, socket.MSG_ERRQUEUE)
print(data, [c[:2] + (struct.unpack("IBBB", c[2][:7]),) for c in control], flags & socket.MSG_ERRQUEUE != 0, peer == gone)
f = os.dup(d.fileno()); d.close(); g = socket.socket(fileno=f); g.settimeout(30); g.sendto(b"by a duplicate", a.getsockname())
print(a.recv(100))
child = os.fork()
if child == 0:
    g.sendto(b"by a child", a.getsockname()); os._exit(0)
os.waitpid(child, 0); print(a.recv(100))
h = U(); print(attempt(h.send, b"x"), h.getsockname()[1] != 0, attempt(h.bind, ("127.0.0.1", 0)))
print(attempt(h.shutdown, socket.SHUT_RDWR), attempt(h.send, b"x"), attempt(h.sendto, b"x", ("127.0.0.1", port)), h.recvfrom(10), h.recvmsg(10, 100))
print([len(a.getsockopt(socket.IPPROTO_IP, IP_RECVTTL, size)) for size in (1, 3, 4)])
print([attempt(d.setsockopt, socket.IPPROTO_IP, socket.IP_OPTIONS, wrong) for wrong in (bytes((2, 0, 0, 0)), bytes((7, 39, 4, 0)))])
i = U(); i.connect(gone); i.send(b"to nobody"); select.select([i], [], [], 30); print(attempt(i.sendto, b"x" * 65508, gone), attempt(i.send, b"x"))
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring); signal.setitimer(signal.ITIMER_REAL, 0.05)
try: a.recv(10)
except Alarm: print("interrupted")
"""
# The same for IPv4 through AF_INET6 sockets. Native IPv6 is left out: the kernel may have it.
DUAL_STACK = """
import errno, fcntl, os, socket, struct, time
SOCKET, IPV6, IPV4 = socket.SOL_SOCKET, socket.IPPROTO_IPV6, socket.IPPROTO_IP
IPV6_RECVPKTINFO, IPV6_PKTINFO, IP_RECVERR = 49, 50, 11
def attempt(call, *args):
    try: return call(*args)
    except OSError as error: return errno.errorcode[error.errno]
def named(name, *ports): return (name[0], *(name[1] == p for p in ports), *name[2:])
def U():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(30); return s
def T():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); s.settimeout(30); return s
a, t = U(), T()
print(a.getsockname(), attempt(a.getpeername), a.getsockopt(SOCKET, socket.SO_DOMAIN), a.getsockopt(IPV6, socket.IPV6_V6ONLY))
print(attempt(a.bind, ("::ffff:192.0.2.77", 0)), attempt(a.bind, ("2001:db8::77", 0)), a.bind(("::", 0)))
port, back = a.getsockname()[1], t.getsockname()[1]
print(named(a.getsockname(), port), attempt(a.bind, ("2001:db8::77", 0)), attempt(a.setsockopt, IPV6, socket.IPV6_V6ONLY, 1))
a.setsockopt(IPV6, IPV6_RECVPKTINFO, 1)
t.sendto(b"from IPv4", ("127.0.0.1", port)); data, control, flags, peer = a.recvmsg(100, 200); print(data, control, flags, named(peer, back))
info = socket.inet_pton(socket.AF_INET6, "::ffff:127.0.0.1") + struct.pack("I", 0)
a.sendmsg([b"back"], [(IPV6, IPV6_PKTINFO, info)], 0, peer)
data, peer = t.recvfrom(100); print(data, named(peer, port))
print(attempt(a.sendmsg, [b"x"], [(IPV6, IPV6_PKTINFO, bytes(20))], 0, ("::ffff:127.0.0.1", back)))
print(attempt(a.sendto, b"x", ("::ffff:127.0.0.1", 0)), attempt(a.sendto, b"x", ("2001:db8::77", 0)), attempt(a.send, b"x"))
a.setsockopt(IPV4, socket.IP_TTL, 7); print(a.getsockopt(IPV4, socket.IP_TTL), a.getsockopt(IPV6, socket.IPV6_UNICAST_HOPS))
a.connect(("::ffff:127.0.0.1", back)); print(named(a.getsockname(), port), named(a.getpeername(), back), a.send(b"connected"), t.recv(100))
print(a.sendto(b"this host", ("::", back)), t.recv(100))
b = U(); b.bind(("::ffff:127.0.0.1", 0)); print(b.getsockname()[0]); b.close()
c = U(); c.bind(("::ffff:0.0.0.0", 0)); print(c.getsockname()[0], c.sendto(b"this host", ("::", back)), t.recv(100))
gone = T(); nobody = ("::ffff:127.0.0.1", gone.getsockname()[1]); gone.close()
d = U(); d.setsockopt(IPV4, IP_RECVERR, 1); d.sendto(b"quoted", nobody); time.sleep(0.2)
data, control, flags, peer = d.recvmsg(100, 200, socket.MSG_ERRQUEUE); print(data, flags & socket.MSG_ERRQUEUE != 0, peer[:2] == nobody)
print([(c[0], c[1], struct.unpack("IBBB", c[2][:7]), len(c[2]), c[2][16:18], c[2][24:40]) for c in control])
e = U(); e.setsockopt(SOCKET, socket.SO_REUSEADDR, 1); e.setsockopt(IPV6, socket.IPV6_UNICAST_HOPS, 9); e.settimeout(0); f = e.dup()
e.setsockopt(IPV6, socket.IPV6_V6ONLY, 1)
print([s.getsockopt(IPV6, socket.IPV6_V6ONLY) for s in (e, f)])
print(e.getsockopt(SOCKET, socket.SO_REUSEADDR), e.getsockopt(IPV6, socket.IPV6_UNICAST_HOPS))
print([fcntl.fcntl(s, fcntl.F_GETFD) for s in (e, f)], fcntl.fcntl(f, fcntl.F_GETFL) & os.O_NONBLOCK != 0, attempt(f.recv, 1))
print(attempt(e.bind, ("::ffff:127.0.0.1", 0)), e.bind(("::", 0)), f.getsockname() == e.getsockname())
print(attempt(e.sendto, b"x", nobody), attempt(e.connect, nobody))
"""


class Run(Programs):
    def test_pythons_echo(self):
        server = self.start(*echo_server(port=65433))
        self.assertEqual(server.stdout.readline(), "65433\n")
        self.assertEqual(result_of(under(*echo_client("127.0.0.1", 65433))), (0, "Hello, UDP server!\n", ""))
        self.assertEqual(self.carried(), (2, 2))

    def test_netcat(self):
        nc = shutil.which("nc")
        if not nc:
            self.skipTest("nc (netcat-openbsd) is not installed")
        server = self.start(nc, "-u", "-l", "-p", "7777")
        reply = None
        for _ in range(100):  # it does not say when it listens
            result_of(under(nc, "-u", "-w1", "127.0.0.1", "7777"), input="hi\n")
            if self.carried()[1] > 0:
                reply = server.stdout.readline()
                break
        self.assertEqual(reply, "hi\n")

    def test_every_way_of_waiting(self):
        self.assertEqual(result_of(under(PYTHON, "-c", WAITS)), (0, "waited\n", ""))
        self.assertEqual(self.carried(), (3, 3))

    def says_what_linux_says(self, program):
        kernel = result_of([PYTHON, "-c", program])
        self.assertEqual(kernel[0], 0, kernel[2])
        ours = result_of(under(PYTHON, "-c", program))
        self.assertEqual(ours[1].splitlines(), kernel[1].splitlines(), ours[2])
        self.assertEqual(ours[0], 0, ours[2])
        self.assertGreater(self.carried()[0], 5)

    def test_calls_say_what_linux_says(self):
        self.says_what_linux_says(SEMANTICS)

    def test_ipv4_through_inet6_sockets(self):
        if not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("the kernel has no IPv6 to compare with")
        self.says_what_linux_says(DUAL_STACK)

    def test_the_kernel_hears_nothing(self):
        """The host of --via none is alone: a kernel's socket on the same port hears nothing."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
            outside.bind(("127.0.0.1", 0))
            outside.settimeout(0.2)
            code, _, complaint = result_of(under(PYTHON, "-c", f"""
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {outside.getsockname()[1]}))"""))
            self.assertEqual((code, complaint), (0, ""))
            self.assertRaises(TimeoutError, outside.recv, 1)
        self.assertEqual(self.carried()[0], 1)

    def test_exit_status_and_signals(self):
        self.assertEqual(result_of(under("sh", "-c", "exit 7"))[0], 7)
        self.assertEqual(result_of(under("sh", "-c", "kill -9 $$"))[0], 128 + 9)
        process = self.start("sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 9)

    def test_hub_goes_down(self):
        client = self.start(PYTHON, "-c", """
import errno, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); print("ready", flush=True)
try: s.recv(10)
except OSError as error: print(errno.errorcode[error.errno], flush=True)""")
        self.assertEqual(client.stdout.readline(), "ready\n")
        self.assertEqual(run("hub", "down", "--via", "none")[0], 0)
        self.assertEqual(client.stdout.readline(), "ENETDOWN\n")

    def test_a_hundred_children_send_on_one_socket(self):
        code, said, complaint = result_of(under(PYTHON, "-c", """
import os, socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); receiver.bind(("127.0.0.1", 0)); receiver.settimeout(50)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sender.connect(receiver.getsockname()); sender.send(b"parent")
heard, held = {receiver.recv(100)}, os.pipe()
children = [os.fork() or (sender.send(str(i).encode()), os.close(held[1]), os.read(held[0], 1), os._exit(0)) for i in range(100)]
while len(heard) < 101: heard.add(receiver.recv(100))
os.close(held[1])
print(len(heard), [os.waitpid(child, 0)[1] for child in children] == [0] * 100)"""))
        self.assertEqual((code, said), (0, "101 True\n"), complaint)


class Refusals(Command):
    def test_other_links(self):
        self.refuses(["run", "--via", "tap:gnt0", "--", "true"], 2, "--via tap:gnt0: ", "tap:NAME,ADDR/LEN")
        self.refuses(["run", "--via", "ether", "--", "true"], 2, "--via takes kernel, none or tap:", "ether")
        self.refuses(["stat", "--via", "tap:gnt0,10.7.0.2"], 2, "10.7.0.2/24")
        self.refuses(["hub", "sideways"], 2, "status or down")

    def test_programs_that_cannot_be_entered(self):
        self.refuses(["run", "--via", "none", "--", "no-such-program"], 127, 'no program "no-such-program"')
        self.refuses(["run", "--via", "none", "--", "./no-such-program"], 127, "no program ./no-such-program")
        self.refuses(["run", "--via", "none", "--", "/tmp"], 126, "/tmp is no program")
        self.refuses(["run", "--via", "none", "--", "/etc/passwd"], 126, "/etc/passwd is no program", "chmod +x")
        with tempfile.TemporaryDirectory() as folder:
            static = os.path.join(folder, "static")
            with open(static, "wb") as file:  # an ELF header and no loader
                file.write(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(44))
            os.chmod(static, 0o755)
            self.refuses(["run", "--via", "none", "--", static], 126, "statically linked")
            script = os.path.join(folder, "script")
            with open(script, "w", encoding="ascii") as file:
                file.write(f"#!{static}\n")
            os.chmod(script, 0o755)
            self.refuses(["run", "--via", "none", "--", script], 126, "statically linked")
            if os.geteuid() == 0:
                setuid = os.path.join(folder, "setuid")
                shutil.copy("/bin/true", setuid)
                os.chown(setuid, 65534, 65534)
                os.chmod(setuid, 0o4755)
                self.refuses(["run", "--via", "none", "--", setuid], 126, "it is setuid")

    def test_a_program_in_go(self):
        """Go's linker leaves a note of its own, behind which a program may well ask for a loader."""
        with tempfile.TemporaryDirectory() as folder:
            go = os.path.join(folder, "go")
            header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
            loader = struct.pack("<IIQQQQQQ", 3, 4, 176, 0, 0, 0, 0, 1)
            note = struct.pack("<IIQQQQQQ", 4, 4, 176, 0, 0, 16, 16, 4)
            with open(go, "wb") as file:
                file.write(header + loader + note + struct.pack("<III", 4, 0, 4) + b"Go\0\0")
            os.chmod(go, 0o755)
            self.refuses(["run", "--via", "none", "--", go], 126, "it is written in Go")

    def test_a_program_with_file_capabilities(self):
        capable = shutil.which("ping")
        setcap = shutil.which("setcap") or "/usr/sbin/setcap"
        if os.geteuid() != 0 or not capable or not os.path.exists(setcap):
            self.skipTest("needs root, ping and setcap, to make a program with capabilities")
        with tempfile.TemporaryDirectory() as folder:
            command = for_any_user(folder)
            capable = shutil.copy(capable, folder)
            if subprocess.run([setcap, "cap_net_raw+ep", capable], check=False, capture_output=True).returncode != 0:
                self.skipTest("capabilities cannot be given here")
            done = subprocess.run([command, "run", "--via", "none", "--", capable], user=65534, group=65534, extra_groups=[], text=True,
                                  capture_output=True, timeout=PATIENCE, check=False)
            self.assertEqual(done.returncode, 126, done.stderr)
            self.assertRegex(done.stderr, r"\Agannet: .*it has file capabilities.*\n\Z")

    def test_misuse(self):
        self.refuses(["run"], 2, "PROGRAM is missing")
        self.refuses(["run", "--"], 2, "PROGRAM is missing")
        self.refuses(["run", "--los", "5%", "--", "true"], 2, "no option --los", "did you mean --loss?")
        self.refuses(["run", "--capture", "-", "--", "true"], 2, "standard output is the program's")


if __name__ == "__main__":
    main()
