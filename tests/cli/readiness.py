"""When a UDP socket is ready, and for what: a program that prints what Linux's wait calls say, case by case. On the kernel and under `gannet run` it is
to print the same (readiness_test.py)."""
import ctypes
import os
import platform
import select
import signal
import socket
import threading
import time

POLL = ("POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLNVAL", "POLLRDNORM", "POLLWRNORM", "POLLRDHUP")
EPOLL = ("EPOLLIN", "EPOLLPRI", "EPOLLOUT", "EPOLLERR", "EPOLLHUP", "EPOLLRDNORM", "EPOLLWRNORM", "EPOLLRDHUP")
ALL = sum(getattr(select, name) for name in POLL if name != "POLLNVAL")
WATCHED = select.EPOLLIN | select.EPOLLOUT | select.EPOLLPRI | select.EPOLLRDHUP
COMES, QUIET = 30, 0.05  # seconds: for what must come, and for what must not


def words(mask, names):
    return "+".join(name.removeprefix("E").removeprefix("POLL").lower() for name in names if mask & getattr(select, name)) or "nothing"


def bound():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made


sender = bound()


def send(receiver, data=b"x"):
    sender.sendto(data, receiver.getsockname())


def await_input(receiver):
    """On a host of ours a datagram is on its way for some microseconds."""
    select.select([receiver], [], [], COMES)


def take(receiver, count=1):
    for _ in range(count):
        receiver.recv(100)


# What a socket is ready for.

def by_poll(watched):
    waiter = select.poll()
    waiter.register(watched, ALL)
    return words(dict(waiter.poll(0)).get(watched.fileno(), 0), POLL)


def by_select(watched):
    ready = select.select([watched], [watched], [watched], 0)
    return "+".join(word for word, got in zip(("in", "out", "exceptional"), ready) if got) or "nothing"


def by_epoll(watched, flags=0):
    with select.epoll() as waiter:
        waiter.register(watched, WATCHED | flags)
        return words(dict(waiter.poll(0)).get(watched.fileno(), 0), EPOLL)


# The calls that take a signal mask, of which Python knows none.

class PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class EpollEvent(ctypes.Structure):
    _pack_ = 1 if platform.machine() == "x86_64" else 8
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


libc = ctypes.CDLL(None, use_errno=True)
NO_SIGNAL = bytes(128)  # a sigset_t that blocks none


def called(count):
    if count < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return count


def timespec(wait):
    return ctypes.byref(Timespec(int(wait), int(wait % 1 * 1e9)))


def ppoll(watched, wanted, wait, mask=None):
    entry = PollFd(watched.fileno(), wanted)
    count = called(libc.ppoll(ctypes.byref(entry), ctypes.c_ulong(1), timespec(wait), mask))
    return count, entry.revents


def pselect(watched, wait, mask=None, which=(0, 1, 2)):
    """Which of the three sets it is in."""
    fd = watched.fileno()
    sets = [(ctypes.c_uint64 * 16)() for _ in range(3)]
    for i in which:
        sets[i][fd // 64] = 1 << fd % 64
    count = called(libc.pselect(fd + 1, *sets, timespec(wait), mask))
    return count, [bool(each[fd // 64]) for each in sets]


def pwait(waiter, wait, mask=None):
    event = EpollEvent()
    count = called(libc.epoll_pwait(waiter.fileno(), ctypes.byref(event), 1, int(wait * 1000), mask))
    return count, event.events


def pwait2(waiter, wait, mask=None):
    event = EpollEvent()
    count = called(libc.epoll_pwait2(waiter.fileno(), ctypes.byref(event), 1, timespec(wait), mask))
    return count, event.events


def by_ppoll(watched):
    count, events = ppoll(watched, ALL, 0)
    return f"{count} {words(events, POLL)}"


def by_pselect(watched):
    count, ready = pselect(watched, 0)
    return f"{count} " + ("+".join(word for word, got in zip(("in", "out", "exceptional"), ready) if got) or "nothing")


def by_epoll_pwait(call, watched):
    with select.epoll() as waiter:
        waiter.register(watched, WATCHED)
        count, events = call(waiter, 0)
        return f"{count} {words(events, EPOLL)}"


def tell(case, watched):
    print(f"{case}: poll {by_poll(watched)}, select {by_select(watched)}, epoll {by_epoll(watched)}, edge {by_epoll(watched, select.EPOLLET)}, "
          f"ppoll {by_ppoll(watched)}, pselect {by_pselect(watched)}, pwait {by_epoll_pwait(pwait, watched)}, {by_epoll_pwait(pwait2, watched)}")


def levels():
    tell("never bound", socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    a = bound()
    tell("bound", a)
    send(a)
    await_input(a)
    tell("one datagram", a)
    a.recv(10, socket.MSG_PEEK)
    tell("peeked at", a)
    send(a)
    take(a)
    await_input(a)
    tell("one of two left", a)
    take(a)
    tell("all taken", a)
    send(a, b"")
    await_input(a)
    tell("an empty datagram", a)
    take(a)
    send(a, b"cut short")
    a.recv(3)
    tell("cut short", a)
    a.connect(sender.getsockname())
    tell("connected", a)
    send(a)
    await_input(a)
    tell("by its peer", a)
    a.setblocking(False)
    take(a)
    tell("without blocking", a)


IP_RECVERR = 11


def refused():
    """A socket whose peer is not there, and it has been told so."""
    gone, told = bound(), bound()
    told.connect(gone.getsockname())
    gone.close()
    return told


def errors():
    a = refused()
    a.send(b"x")
    await_input(a)
    tell("refused", a)
    print("SO_ERROR", a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    tell("and told", a)
    a = refused()
    a.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    a.send(b"x")
    await_input(a)
    tell("queued", a)
    a.recvmsg(100, 100, socket.MSG_ERRQUEUE)
    tell("taken from the queue", a)
    a, waiter, edge = refused(), select.epoll(), select.epoll()
    waiter.register(a, select.EPOLLIN)
    edge.register(a, select.EPOLLIN | select.EPOLLET)
    a.send(b"x")
    print("refused: level", events(waiter), "still", events(waiter), "edge", events(edge), "again", events(edge, QUIET))
    try:
        a.recv(10)
    except ConnectionRefusedError:
        print("refused: taken, level", events(waiter, QUIET), "edge", events(edge, QUIET))


def shut_down():
    a = bound()
    a.connect(sender.getsockname())
    a.shutdown(socket.SHUT_WR)
    tell("sends no more", a)
    send(a)
    await_input(a)
    tell("sends no more, and an arrival", a)


def events(waiter, wait=COMES):
    """One wait's result, in words."""
    return ",".join(words(mask, EPOLL) for _, mask in waiter.poll(wait)) or "none"


def epoll_by_level():
    a, waiter = bound(), select.epoll()
    waiter.register(a, select.EPOLLIN)
    print("level: nothing yet", events(waiter, QUIET))
    send(a)
    print("level: arrival", events(waiter), "still", events(waiter))
    send(a)
    take(a)
    await_input(a)
    print("level: one left", events(waiter))
    take(a)
    print("level: none left", events(waiter, QUIET))
    waiter.modify(a, select.EPOLLOUT)
    print("level: for output", events(waiter))


def epoll_once():
    a, waiter = bound(), select.epoll()
    waiter.register(a, select.EPOLLIN | select.EPOLLONESHOT)
    send(a)
    print("once: arrival", events(waiter), "again", events(waiter, QUIET))
    send(a)
    print("once: second", events(waiter, QUIET))
    waiter.modify(a, select.EPOLLIN | select.EPOLLONESHOT)
    print("once: armed again", events(waiter), "again", events(waiter, QUIET))
    take(a, 2)
    waiter.modify(a, select.EPOLLIN | select.EPOLLONESHOT)
    print("once: armed with nothing there", events(waiter, QUIET))
    send(a)
    print("once: arrival", events(waiter))


def epoll_by_edge():
    a, waiter = bound(), select.epoll()
    waiter.register(a, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    print("edge: at first", events(waiter, QUIET), "again", events(waiter, QUIET))
    send(a)
    print("edge: arrival", events(waiter), "again", events(waiter, QUIET))
    take(a)
    print("edge: taken", events(waiter, QUIET))
    for _ in range(3):
        send(a)
        print("edge: arrival after a read", events(waiter))
        take(a)
    send(a)
    send(a)
    time.sleep(QUIET)
    print("edge: two at once", events(waiter), "again", events(waiter, QUIET))
    take(a)
    print("edge: one left", events(waiter, QUIET))
    send(a)
    print("edge: arrival with one left", events(waiter))
    take(a, 2)
    print("edge: none left", events(waiter, QUIET))
    for _ in range(3):
        send(a)
        print("edge: arrival, nothing read", events(waiter), "again", events(waiter, QUIET))
    waiter.modify(a, select.EPOLLIN | select.EPOLLET)
    print("edge: modified with three there", events(waiter))


def descriptors():
    a, waiter, other = bound(), select.epoll(), select.epoll()
    waiter.register(a, select.EPOLLIN)
    b, port = a.dup(), a.getsockname()
    a.close()
    sender.sendto(b"x", port)
    print("a duplicate keeps the registration:", events(waiter))
    take(b)
    print("taken by it:", events(waiter, QUIET))
    b.close()
    a = bound()
    for each in waiter, other:
        each.register(a, select.EPOLLIN | select.EPOLLET)
    send(a)
    print("two of them:", events(waiter), events(other))
    take(a)
    outer = select.epoll()
    outer.register(waiter.fileno(), select.EPOLLIN)
    send(a)
    print("one in another:", events(outer), events(waiter))
    waiter.modify(a, select.EPOLLIN)
    print("by level:", events(waiter))
    a.close()
    print("closed:", events(waiter, QUIET), events(outer, QUIET))


# Who waits is woken, or gives up in time.

def wait_by_poll(watched, wait):
    waiter = select.poll()
    waiter.register(watched, select.POLLIN)
    return bool(waiter.poll(wait * 1000))


def wait_by_select(watched, wait):
    return bool(select.select([watched], [], [], wait)[0])


def wait_by_epoll(watched, wait):
    with select.epoll() as waiter:
        waiter.register(watched, select.EPOLLIN)
        return bool(waiter.poll(wait))


def wait_by_ppoll(watched, wait, mask=None):
    return bool(ppoll(watched, select.POLLIN, wait, mask)[0])


def wait_by_pselect(watched, wait, mask=None):
    return bool(pselect(watched, wait, mask, which=(0,))[0])


def wait_by_epoll_pwait(watched, wait, mask=None, call=pwait):
    with select.epoll() as waiter:
        waiter.register(watched, select.EPOLLIN)
        return bool(call(waiter, wait, mask)[0])


def wait_by_epoll_pwait2(watched, wait, mask=None):
    return wait_by_epoll_pwait(watched, wait, mask, pwait2)


WITH_MASK = wait_by_ppoll, wait_by_pselect, wait_by_epoll_pwait, wait_by_epoll_pwait2


def wake_ups():
    a = bound()
    for wait in wait_by_poll, wait_by_select, wait_by_epoll, *WITH_MASK:
        start = time.monotonic()
        print(wait.__name__, "times out", wait(a, QUIET), time.monotonic() - start > QUIET * 0.9)
        later = threading.Timer(QUIET, send, (a,))
        later.start()
        print(wait.__name__, "is woken", wait(a, COMES))
        later.join()
        take(a)


def masks():
    """A signal that is blocked and pending ends a wait whose mask lets it in, and no other."""
    a, caught = bound(), []
    signal.signal(signal.SIGUSR1, lambda *_: caught.append("caught"))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    for wait in WITH_MASK:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)  # to this thread: one that is just ending has it not blocked
        print(wait.__name__, "keeps the mask:", wait(a, QUIET), caught)
        send(a)
        print(wait.__name__, "wakes under it:", wait(a, COMES), caught)
        take(a)
        try:
            wait(a, COMES, NO_SIGNAL)
        except InterruptedError:
            print(wait.__name__, "lets it in:", caught)
        caught.clear()
        print(wait.__name__, "put the mask back:", signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR1})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


def in_child(work):
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 1)
    return child


def children():
    a = bound()
    send(a)
    await_input(a)
    os.waitpid(in_child(lambda: a.recv(10)), 0)
    tell("taken by a child", a)
    child = in_child(lambda: wait_by_select(a, COMES) and a.recv(10))
    time.sleep(QUIET)
    send(a)
    print("a child waits:", os.waitpid(child, 0)[1])
    tell("and takes it", a)
    os.waitpid(in_child(lambda: sender.sendto(b"x", a.getsockname())), 0)
    await_input(a)
    tell("sent by a child", a)
    take(a)
    tell("and taken here", a)


for part in levels, errors, shut_down, epoll_by_level, epoll_once, epoll_by_edge, descriptors, wake_ups, masks, children:
    part()
