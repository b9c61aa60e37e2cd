"""What programs do with descriptors, on the kernel and under `gannet run --via none`: duplicated, inherited, sent, closed behind the library's back.

Each program prints what Linux does, and has to print the same on our stack, whose counters show that it carried the datagrams.
"""
import subprocess

from gannet import run
from programs import PYTHON, Programs, main, result_of, status, under

PROLOGUE = """
import array, ctypes, errno, fcntl, os, socket, struct, subprocess, sys, threading, time
C = ctypes.CDLL(None, use_errno=True)
def attempt(call, *args):
    try: return call(*args)
    except OSError as error: return errno.errorcode[error.errno]
def udp(inheritable=False):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(30); s.set_inheritable(inheritable); return s
def bound(**how):
    s = udp(**how); s.bind(("127.0.0.1", 0)); return s
peer = bound(); HOME = peer.getsockname()
def heard(): return peer.recvfrom(100)[0]
def again(fd): s = socket.socket(fileno=fd); s.settimeout(30); return s
def run(code, *fds, arguments=(), **how):
    done = subprocess.run([sys.executable, "-c", EXECUTED + code, *map(str, fds), *arguments], pass_fds=fds, capture_output=True, text=True, **how)
    print(done.stdout.strip(), done.stderr[-300:])
EXECUTED = "import socket, sys\\ndef again(fd): s = socket.socket(fileno=int(fd)); s.settimeout(30); return s\\n"
"""
DUPLICATES = """
s = bound(); name = s.getsockname()
n = fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100); m = fcntl.fcntl(s.fileno(), fcntl.F_DUPFD_CLOEXEC, 200)
print(n, m, fcntl.fcntl(n, fcntl.F_GETFD), fcntl.fcntl(m, fcntl.F_GETFD))
s.close(); d = again(n); print(d.getsockname() == name); d.sendto(b"by a duplicate", HOME); print(heard()); os.close(m)
victim = bound(); port = victim.getsockname(); os.dup2(n, victim.fileno()); print(victim.getsockname() == name)
free = udp(); print(attempt(free.bind, port)); free.sendto(b"to the duplicate", name); print(victim.recv(100)); d.setblocking(False); print(attempt(d.recv, 100))
r, w = os.pipe(); os.dup2(w, victim.fileno()); os.write(victim.fileno(), b"into the pipe"); print(os.read(r, 100), attempt(victim.getsockname))
os.dup2(n, 1000); C.dup3(n, 1001, os.O_CLOEXEC); os.close(n); x = again(1001); x.sendto(b"by dup3", HOME); print(heard(), fcntl.fcntl(1001, fcntl.F_GETFD))
victim.detach(); d.detach()
"""
CLOSED = """
def reused(close):
    s = bound(); fd = s.detach(); port = socket.socket(fileno=os.dup(fd)).getsockname()[1]; close(fd)
    ends = [os.pipe() for _ in range(8)]; mine = [pair for pair in ends if fd in pair]
    if not mine: return "not reused"
    r, w = mine[0]
    os.write(w, b"through the pipe"); data = os.read(r, 100); [os.close(end) for pair in ends for end in pair]
    return data, attempt(bound_to, port)
def bound_to(port): s = udp(); s.bind(("127.0.0.1", port)); s.close(); return "free again"
print(reused(os.close))
print(reused(lambda fd: C.syscall(3, fd)))
print(reused(lambda fd: C.close_range(fd, fd, 0)))
print(reused(lambda fd: C.syscall(436, fd, fd, 0)))
C.fdopen.restype = ctypes.c_void_p; C.fclose.argtypes = [ctypes.c_void_p]
print(reused(lambda fd: C.fclose(C.fdopen(fd, b"r+"))))
s = bound(); fd = s.fileno()
C.fputs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]; C.fflush.argtypes = [ctypes.c_void_p]
stream = C.fdopen(os.dup(fd), b"r+"); s.connect(HOME); C.fputs(b"through a stream", stream); C.fflush(stream); print(heard()); C.fclose(stream)
if os.fork() == 0:
    C.closefrom(3); print(attempt(os.write, fd, b"x"), [attempt(s.getsockname), attempt(s.send, b"x")], flush=True); os._exit(0)
os.wait()
if os.fork() == 0:  # as daemons do
    for each in range(3, 1024): attempt(os.close, each)
    t = bound(); t.sendto(b"a daemon's", HOME); print(attempt(s.getsockname), flush=True); os._exit(0)
os.wait(); print(heard()); s.send(b"still open here"); print(heard())
"""
FORKS = """
s = bound(); t = udp(); name = s.getsockname(); stop = False
def busy():
    u = udp()
    while not stop:
        v = bound(); v.sendto(b"x", v.getsockname()); v.recv(10); v.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10000); v.close()
threads = [threading.Thread(target=busy) for _ in range(3)]; [each.start() for each in threads]
for i in range(20):
    child = os.fork()
    if child == 0:
        t.sendto(b"child %d" % i, name); own = bound(); own.sendto(b"own %d" % i, HOME)
        os._exit(0 if s.recv(100) == b"child %d" % i else 1)
    print(os.waitpid(child, 0)[1], heard())
stop = True; [each.join() for each in threads]
def in_child(use):
    child = os.fork()
    if child == 0: use(); os._exit(0)
    return os.waitpid(child, 0)[1]
# What a child does to the socket, its parent sees.
u = udp(); u.bind(("127.0.0.1", 0))
print(in_child(lambda: u.connect(HOME)), u.getpeername() == HOME); u.send(b"to whom the child connected"); print(heard())
print(in_child(lambda: u.setsockopt(socket.IPPROTO_IP, 8, 1)), u.getsockopt(socket.IPPROTO_IP, 8))
peer.sendto(b"with packet info", u.getsockname()); print(u.recvmsg(100, 100)[1][0][:2])
print(subprocess.run(["/bin/true"]).returncode); u.send(b"after a spawn"); print(heard())
"""
EXECUTION = """
s = bound(); s.setsockopt(socket.IPPROTO_IP, 8, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); s.connect(HOME)
run("s = again(sys.argv[1]); print(s.family, s.type, s.proto, s.getsockname()[0], s.getpeername()[0], s.getsockopt(0, 8), s.getsockopt(1, 6)); s.send(b'after exec')", s.fileno())
print(heard()); peer.sendto(b"to whom has it", s.getsockname()); run("s = again(sys.argv[1]); print(s.recvmsg(100, 100)[0:2])", s.fileno())
s.send(b"and still here"); print(heard())
u = udp(); run("s = again(sys.argv[1]); s.bind(('127.0.0.1', 0)); s.sendto(b'by who bound it', ('127.0.0.1', int(sys.argv[2]))); print(s.getsockname()[0])", u.fileno(), arguments=[str(HOME[1])])
print(heard(), u.getsockname()[0])
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); r.bind(("127.0.0.1", 0)); r.set_inheritable(True)  # blocks
peer.sendto(b"as standard input", r.getsockname())
print(subprocess.run(["/bin/dd", "bs=100", "count=1", "status=none"], stdin=r, capture_output=True).stdout)
w = udp(); w.connect(HOME); print(subprocess.run(["/bin/dd", "bs=100", "status=none"], input=b"as standard output", stdout=w).returncode, heard())
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); six.setsockopt(41, 67, 9); six.bind(("::", 0)); six.setsockopt(41, 49, 1)  # IPV6_TCLASS, IPV6_RECVPKTINFO
run("s = again(sys.argv[1]); print(s.family, s.getsockname()[0], [s.getsockopt(41, n) for n in (67, 49)]); s.sendto(b'by IPv6', ('::ffff:127.0.0.1', int(sys.argv[2])))", six.fileno(), arguments=[str(HOME[1])])
print(heard())
if os.fork() == 0:  # exec by one that shares the socket with its parent
    s.set_inheritable(True)
    os.execv(sys.executable, [sys.executable, "-c", EXECUTED + "import select; s = again(sys.argv[1]); print(select.select([s], [], [], 30)[0] != [], s.recv(100), flush=True)", str(s.fileno())])
time.sleep(0.1); peer.sendto(b"who waits", s.getsockname()); os.wait()
"""
EARLY = """
def early():
    s = udp(inheritable=True)
    for level, name, value in (1, 6, 1), (0, 8, 1), (1, 8, 10000), (0, 1, 0x10), (1, 29, 1): s.setsockopt(level, name, value)  # SO_BROADCAST, IP_PKTINFO, SO_RCVBUF ..
    return s
SHOW = "s = again(sys.argv[1]); print([s.getsockopt(*o) for o in ((1, 6), (0, 8), (1, 8), (0, 1), (1, 29), (1, 7))], flush=True); s.sendto(b'by who got it', ('127.0.0.1', int(sys.argv[2])))"
def shown(fd): return [sys.executable, "-c", EXECUTED + SHOW, str(fd), str(HOME[1])]
s = early(); run(SHOW, s.fileno(), arguments=[str(HOME[1])]); print(heard(), s.getsockname()[1] != 0, s.getsockopt(1, 6))
print(subprocess.run(shown(0), stdin=early(), capture_output=True, text=True).stdout, heard())
s = early(); actions = [(os.POSIX_SPAWN_DUP2, s.fileno(), 77), (os.POSIX_SPAWN_CLOSE, s.fileno())]
print(os.waitpid(os.posix_spawn(sys.executable, shown(77), os.environ, file_actions=actions), 0)[1], heard())
s = early(); print(os.system("'%s' -c '%s' %d %d" % (sys.executable, (EXECUTED + SHOW).replace("'", '"'), s.fileno(), HOME[1])), heard())
def in_child(execute):
    sys.stdout.flush()
    if os.fork() == 0: s = early(); execute(*[text.encode() for text in shown(s.fileno())]); os._exit(9)
    print(os.wait()[1], heard())
in_child(lambda *a: os.execv(a[0], a))
in_child(lambda *a: C.execl(a[0], *a, None))
in_child(lambda *a: C.execlp(a[0], *a, None))
environment = (ctypes.c_char_p * (len(os.environ) + 1))(*[f"{k}={v}".encode() for k, v in os.environ.items()], None)
in_child(lambda *a: C.execle(a[0], *a, None, environment))
v = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); v.setsockopt(41, 67, 9); v.set_inheritable(True); run("s = again(sys.argv[1]); print(s.family, s.getsockopt(41, 67))", v.fileno())
"""
DAEMONS = """
reader, writer = os.pipe()
if os.fork() == 0:  # binds, forks, and ends: twice, as daemons do
    s = bound(); os.write(writer, b"%d" % s.getsockname()[1])
    for i in range(2):
        if os.fork() != 0: os._exit(0)
        os.setsid()
    for i in range(2): data, who = s.recvfrom(100); s.sendto(data.upper(), who)
    os._exit(0)
port = int(os.read(reader, 10)); os.wait(); time.sleep(0.5)
for i in range(2): peer.sendto(b"to a daemon", ("127.0.0.1", port)); print(heard())
# A service of inetd's has its socket as descriptors 0 and 1.
SERVE = "import os; s = again(%s); d, who = s.recvfrom(100); s.connect(who); os.write(%s, b'served ' + d)"
s = bound(); peer.sendto(b"by inetd", s.getsockname()); print(subprocess.run([sys.executable, "-c", EXECUTED + SERVE % (0, 1)], stdin=s, stdout=s).returncode, heard())
# Socket activation: from descriptor 3 on.
ends = bound(), bound()
for end in ends: peer.sendto(b"activation", end.getsockname())
if os.fork() == 0:
    for fd, copy in [(3 + i, os.dup(end.fileno())) for i, end in enumerate(ends)]: os.dup2(copy, fd)
    os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid())); os.closerange(5, 100)
    code = "import os; assert os.environ['LISTEN_PID'] == str(os.getpid())\\nfor fd in range(3, 3 + int(os.environ['LISTEN_FDS'])): s = again(fd); d, who = s.recvfrom(100); s.sendto(b'%d by ' % fd + d, who)"
    os.execv(sys.executable, [sys.executable, "-c", EXECUTED + code])
print(os.wait()[1], sorted([heard(), heard()]))
"""
WATCHED = """
import select, signal
IN, ERR = select.EPOLLIN, select.EPOLLERR
free = bound(); nobody = free.getsockname(); free.close()
e = select.epoll(); s = udp(); s.connect(nobody); e.register(s, IN)
def refused(): s.send(b"x"); events = [event for _, event in e.poll(30)]; return events, attempt(s.recv, 10)
print(refused(), subprocess.run(["/bin/true"]).returncode, refused())  # what its child closed, is not closed here
r, w = os.pipe(); os.dup2(r, s.fileno()); e.register(s, IN); os.write(w, b"x"); print(e.poll(30) == [(s.fileno(), IN)])
e.close(); stop = False
def poll():
    e = select.epoll(); s = bound(); e.register(s, IN)
    while not stop:
        t = bound(); e.register(t, IN | select.EPOLLET); t.sendto(b"x", s.getsockname()); e.poll(30); s.recv(10); t.close()
threads = [threading.Thread(target=poll) for _ in range(3)]; [each.start() for each in threads]
for i in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(60); own = bound(); e = select.epoll(); e.register(own, IN); own.sendto(b"x", own.getsockname())
        os._exit(0 if e.poll(30) == [(own.fileno(), IN)] and own.recv(10) == b"x" else 1)
    print(os.waitpid(child, 0)[1])
stop = True; [each.join() for each in threads]
"""
MANY = """
def fill(most):
    sockets = []; done = None
    while done is None and len(sockets) < most: s = udp(); sockets.append(s); done = attempt(s.bind, ("127.0.0.1", 0))
    return len(sockets), done
print(*fill(900)); print(*fill(100))
"""
SENT = """
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
if os.fork() == 0:  # knows none of them
    message, fds, flags, _ = socket.recv_fds(b, 10, 2)
    s, u = map(again, fds); print(s.family, s.type, s.getpeername() == HOME, u.getsockname(), flush=True)
    s.send(b"by who got it"); u.sendto(b"by who first used it", HOME); print(u.getsockname()[1] != 0, flush=True); os._exit(0)
s = bound(); s.connect(HOME); u = udp()
socket.send_fds(a, [b"fds"], [s.fileno(), u.fileno()]); os.wait()
print(sorted([heard(), heard()]), u.getsockname()[1] != 0)
print(attempt(s.send, b"and still here"), heard())
import multiprocessing, multiprocessing.reduction
def serve(pipe):
    with again(multiprocessing.reduction.recv_handle(pipe)) as s: s.sendto(b"by multiprocessing", HOME)
def given(s): s.sendto(b"pickled", HOME)
for start in "fork", "spawn":
    if start == "spawn" and not os.path.exists(sys.argv[0]): break
    context = multiprocessing.get_context(start); ours, theirs = context.Pipe()
    p = context.Process(target=serve, args=(theirs,)); p.start()
    multiprocessing.reduction.send_handle(ours, u.fileno(), p.pid); p.join(); print(p.exitcode, heard())
    p = context.Process(target=given, args=(u,)); p.start(); p.join(); print(p.exitcode, heard())
"""


class Descriptors(Programs):
    def same(self, program, least):
        code = PROLOGUE + program
        kernel = result_of([PYTHON, "-W", "ignore", "-c", code])
        ours = result_of(under(PYTHON, "-W", "ignore", "-c", code))
        self.assertEqual((kernel[0], kernel[2]), (0, ""), kernel[1])
        self.assertEqual(ours[1].splitlines(), kernel[1].splitlines(), ours[2])
        self.assertEqual((ours[0], ours[2]), (0, ""))
        self.assertGreaterEqual(self.carried()[1], least)

    def test_duplicated(self):
        self.same(DUPLICATES, 3)

    def test_closed_and_reused(self):
        self.same(CLOSED, 3)

    def test_forked_with_threads(self):
        self.same(FORKS, 40)

    def test_kept_by_exec(self):
        self.same(EXECUTION, 6)

    def test_options_before_the_first_use_are_kept_by_exec(self):
        self.same(EARLY, 8)

    def test_of_daemons_and_services(self):
        self.same(DAEMONS, 7)

    def test_watched_while_others_fork(self):
        self.same(WATCHED, 20)

    def test_as_many_as_there_may_be_again_and_again(self):
        """A hub with 400 descriptors keeps a quarter of them, and two for each socket."""
        self.end(self.keeper)
        self.assertEqual(run("hub", "down", "--via", self.via)[0], 0)
        keeper = subprocess.Popen(["prlimit", "--nofile=400", *under("sleep", "600")])
        self.addCleanup(self.end, keeper)
        self.wait_until(lambda: run("hub", "status", "--via", self.via)[0] == 0)
        code, output, complaint = result_of(under(PYTHON, "-c", PROLOGUE + MANY))
        self.assertEqual((code, complaint), (0, ""))
        self.assertRegex(output, r"^1[345]\d EMFILE\n100 None$")
        self.wait_until(lambda: status()["sockets"] == 0)

    def test_sent_in_messages(self):
        self.same(SENT, 5)


if __name__ == "__main__":
    main()
