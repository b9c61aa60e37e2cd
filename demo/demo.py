#!/usr/bin/python3
"""The main job, shown: programs as they are on our UDP, and programs of the Linux kernel's UDP that talk to a host that is entirely ours.

    this process, nc, ping                        gannet echo
    the kernel, 10.7.0.1  ---- tap gannet0 ----  our host, 10.7.0.2:65433

Both live in a network namespace of their own, made here and gone with this program: nothing else on the machine is touched. Where a namespace or a TAP
device is not to be had, it says so and shows the same on memory links and kernel sockets.
"""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNEL, OURS, BROADCAST, GROUP, PORT = "10.7.0.1", "10.7.0.2", "10.7.0.255", "239.7.7.7", 65433
TAP = "gannet0"
FIRST = re.escape(OURS)
CANNOT = 3  # how the inner program says that the outer one must show it otherwise
ROUND_TRIPS = 1000

COLOURED = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
BOLD, DIM, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = "1", "2", "31", "32", "33", "34", "35", "36"


class Cannot(Exception):
    """This machine does not let us; the message says what exactly."""


def paint(text, *codes):
    return f"\033[{';'.join(codes)}m{text}\033[0m" if COLOURED and codes else text


def say(text=""):
    print(text, flush=True)


def step(number, title):
    say(f"\n{paint(f'{number}  {title}', BOLD)}")


def told(text):
    """What the kernel's program says of it."""
    say(paint(f"   {text}", BOLD, GREEN))


# Packets, as they pass.

def colour_of(line):
    for word, colour in (("unreachable", RED), ("ARP", YELLOW), ("ICMP", MAGENTA), ("IGMP", BLUE), ("igmp", BLUE), ("UDP", CYAN), ("frag", CYAN)):
        if word in line:
            return colour
    return DIM


class Packets:
    """Prints each packet's line with its time and direction; while it is quiet, it only counts."""

    def __init__(self, gannet):
        lines = subprocess.run([gannet, "explain"], capture_output=True, text=True, check=True).stdout.splitlines()
        self.meanings = dict(line.split(maxsplit=1) for line in lines)
        self.start = time.monotonic()
        self.count, self.quiet, self.last = 0, False, 0.0

    def show(self, line):
        self.last = time.monotonic()
        if "dropped: " in line:  # what became of the packet that was shown, or counted, before
            reason = line.split("dropped: ")[1]
            if not self.quiet:
                say(f"   {paint(f'{self.last - self.start:7.3f}', DIM)} {paint('x ', DIM)} {paint(f'dropped, {reason}: {self.meanings.get(reason)}', RED)}")
            return
        self.count += 1
        if self.quiet:
            return
        from_us = re.match(rf"IP {FIRST}[. ]|ARP, (Reply|Announcement) {FIRST} |.* tell {FIRST}$", line)
        arrow = "<-" if from_us else "->"
        say(f"   {paint(f'{self.last - self.start:7.3f}', DIM)} {paint(arrow, DIM)} {paint(line, colour_of(line))}")

    def settle(self, quiet=0.25, most=3.0):
        """Waits until no packet has come for a moment, so that they stand under the step that caused them."""
        deadline = time.monotonic() + most
        begun = time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - max(self.last, begun) < quiet:
            time.sleep(0.02)


class Gannet:
    """`gannet` in the background, with --json: its packets are shown, its other events kept."""

    def __init__(self, command, packets):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.packets, self.events = packets, []
        self.listening = threading.Event()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "packet":
                self.packets.show(event["line"])
            else:
                self.events.append(event)
                if event["event"] == "listening":
                    self.listening.set()
        self.listening.set()

    def wait_until_listening(self):
        self.listening.wait(20)
        if self.process.poll() is not None or not self.events:
            raise Cannot(self.process.communicate()[1].strip() or "gannet did not start")

    def end(self):
        """Ends it as Ctrl-C does, and gives its summary."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self):
        self.process.wait(30)
        self.reader.join(5)
        return next((event for event in self.events if event["event"] == "summary"), None)


# What the kernel's programs do.

def python_client(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(b"Hello, UDP server!", address)
        data, server = s.recvfrom(1024)
    return f"Received from server {server}: {data.decode()}"


def netcat(host):
    done = subprocess.run(["nc", "-u", "-w", "1", host, str(PORT)], input="hello from nc\n", capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip()


def large_datagram():
    payload = bytes(range(256)) * 16
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(payload, (OURS, PORT))
        data, _ = s.recvfrom(65536)
    return f"{len(payload)} bytes went in fragments and came back {'whole' if data == payload else 'CHANGED'}"


def broadcast():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.sendto(b"anybody there?", (BROADCAST, PORT))
        data, server = s.recvfrom(1024)
    return f"{data.decode()!r} was answered by {server[0]}"


def multicast():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        member.bind((GROUP, PORT))
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(KERNEL)))
        member.settimeout(5)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(KERNEL))
        s.settimeout(5)
        s.sendto(b"to the whole group", (GROUP, PORT))
        heard = member.recvfrom(1024)[0].decode()
        data, server = s.recvfrom(1024)
        assert data.decode() == heard
    return f"{heard!r} was heard by the kernel's member and answered by ours, {server[0]}"


def nobody_there():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect((OURS, 9))
        s.send(b"is this on?")
        try:
            s.recv(100)
        except ConnectionRefusedError:
            return "ConnectionRefusedError: our host said that nobody has port 9"
    return "no answer"


def round_trips(address, count):
    """Seconds that each took, sorted."""
    taken = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        for number in range(count):
            begun = time.perf_counter()
            s.sendto(b"%d" % number, address)
            s.recvfrom(1024)
            taken.append(time.perf_counter() - begun)
    return sorted(taken)


def percentiles(taken):
    shown = ((0, "min"), (50, "p50"), (90, "p90"), (99, "p99"), (100, "max"))
    return ", ".join(f"{name} {taken[max(0, -(-len(taken) * percent // 100) - 1)] * 1e6:.0f} us" for percent, name in shown)


# The demonstration itself.

def on_tap(gannet, capture):
    set_up_loopback()
    packets = Packets(gannet)
    say(f"Our host is {OURS}, all of its ARP, IP, ICMP, IGMP and UDP in user space; the kernel is {KERNEL}.")
    say("Packets: -> to us, <- from us, x what we dropped and why. Our host announces itself, and joins a group:\n")
    host = Gannet([gannet, "echo", "--via", f"tap:{TAP},{OURS}/24", "--join", GROUP, "--capture", capture, "--print", "--json", str(PORT)], packets)
    host.wait_until_listening()
    try:
        set_up_tap()
        packets.settle()
        steps = (
            ("A Python program, as in any tutorial: sendto, then recvfrom(1024)", lambda: python_client((OURS, PORT))),
            (f"nc -u {OURS} {PORT}", lambda: f"nc got: {netcat(OURS)}"),
            (f"ping {OURS}", ping),
            ("A datagram of 4096 bytes, larger than the link's MTU: fragments, both ways", large_datagram),
            (f"A broadcast to {BROADCAST}", broadcast),
            (f"A multicast group: both sides join {GROUP}, one datagram reaches both", multicast),
            ("A port where nobody listens", nobody_there),
        )
        for number, (title, action) in enumerate(steps, 1):
            step(number, title)
            result = action()
            packets.settle()
            told(result)
        step(len(steps) + 1, f"{ROUND_TRIPS} round trips in a row, their packets captured and counted, but not printed")
        packets.quiet = True
        taken = round_trips((OURS, PORT), ROUND_TRIPS)
        packets.settle()
        told(f"{ROUND_TRIPS} answered")
    finally:
        summary = host.end()
    finish(capture, summary, taken, packets, packets.count)


def set_up_loopback():
    try:
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1", encoding="ascii")  # of this namespace: no chatter of the kernel's own
    except OSError:
        pass  # then there is some
    ip("link", "set", "lo", "up")


def set_up_tap():
    ip("address", "add", f"{KERNEL}/24", "broadcast", "+", "dev", TAP)
    ip("link", "set", TAP, "up")
    ip("route", "add", "224.0.0.0/4", "dev", TAP)


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Cannot(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def ping():
    done = subprocess.run(["ping", "-c", "3", "-i", "0.2", "-W", "2", OURS], capture_output=True, text=True, check=False, timeout=20)
    return next((line for line in done.stdout.splitlines() if "packets transmitted" in line), done.stderr.strip())


def on_memory(gannet, capture):
    """The same without any privilege: kernel sockets on loopback, then two hosts of ours on a wire in memory."""
    packets = Packets(gannet)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    step(1, "The same echo server over the kernel's sockets, and a Python program: sendto, then recvfrom(1024)")
    echo = Gannet([gannet, "echo", "--json", "127.0.0.1", str(port)], packets)
    echo.wait_until_listening()
    try:
        told(python_client(("127.0.0.1", port)))
        step(2, f"{ROUND_TRIPS} round trips in a row")
        taken = round_trips(("127.0.0.1", port), ROUND_TRIPS)
        told(f"{ROUND_TRIPS} answered: {percentiles(taken)}")
    finally:
        echo.end()

    say(f"\nFrom here on two hosts that are entirely ours, {KERNEL} and {OURS}, on a wire in memory.")
    say("Packets: -> from the first, <- from the second, x what the first dropped and why.")
    steps = (
        ("A datagram and its echo: ARP finds the other host first", ["--data", "Hello, UDP server!", OURS]),
        ("A datagram of 4096 bytes, larger than the link's MTU: fragments, both ways", ["--size", "4096", OURS]),
        (f"A broadcast to {BROADCAST}", ["-b", "--data", "anybody there?", "-w", "300ms", BROADCAST]),
        (f"A multicast group, {GROUP}: the other host joins it, and answers", ["--data", "to the whole group", "-w", "1500ms", GROUP]),
    )
    via = [gannet, "send", "--via", "memory", "--print", "--json"]
    for number, (title, arguments) in enumerate(steps, 3):
        step(number, title)
        run_send([*via, *arguments, str(PORT)], packets)
    step(7, f"{ROUND_TRIPS} round trips while the link loses 5% each way, and all of it captured")
    packets.quiet = True
    counted = packets.count
    lossy = ["--capture", capture, "--loss", "5%", "--size", "64", "-n", str(ROUND_TRIPS), "--interval", "500us", OURS, str(PORT)]
    summary = run_send([*via, *lossy], packets)
    finish(capture, summary, None, packets, packets.count - counted)


def run_send(command, packets):
    sender = Gannet(command, packets)
    summary = sender.wait()
    if summary is None:
        raise Cannot(sender.process.stderr.read().strip())
    replies = [event for event in sender.events if event["event"] == "received"]
    told(f"{summary['datagrams_out']} sent, {summary['replies']} answered by {', '.join(sorted({each['peer'] for each in replies})) or 'nobody'}")
    return summary


def finish(capture, summary, taken, packets, count):
    say(f"\n{paint('Summary', BOLD)}")
    say(f"   datagrams    {summary['datagrams_in']} in ({summary['bytes_in']} bytes), {summary['datagrams_out']} out ({summary['bytes_out']} bytes), "
        f"in {count} packets")
    if taken:
        say(f"   round trip   {percentiles(taken)}, as the kernel's program saw it")
    elif summary["rtt_us"]:
        say("   round trip   " + ", ".join(f"{name} {value:.0f} us" for name, value in summary["rtt_us"].items()))
    for name, count in summary["drops"].items():
        say(f"   dropped      {count} {name}: {packets.meanings.get(name)}")
    if not summary["drops"]:
        say("   dropped      nothing")
    say(f"   capture      {capture}: {verified(capture)}")


def verified(capture):
    """What another program makes of the capture."""
    if shutil.which("tshark"):
        done = subprocess.run(["tshark", "-n", "-r", capture], capture_output=True, text=True, check=False, timeout=60)
        complaints = [line for line in done.stderr.splitlines() if line and "Running as user" not in line]
        return f"tshark reads {len(done.stdout.splitlines())} packets" + (f" and complains: {complaints[0]}" if complaints else " and has no complaint")
    return f"{os.path.getsize(capture)} bytes of pcapng; open it with Wireshark"


# Programs as they are.

ECHO_SERVER = Path(__file__).resolve().parent.parent / "examples" / "echo_server.py"
CLIENT = """
import select, socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    answered = 0
    begun = time.monotonic()
    for n in range(50):
        s.sendto(b"%d" % n, ("127.0.0.1", int(sys.argv[1])))
    while select.select([s], [], [], 1)[0]:
        s.recvfrom(1024)
        answered, last = answered + 1, time.monotonic()
    print(f"50 sent, {answered} answered, the last after {(last - begun) * 1000:.0f} ms")
"""


def under_run(gannet):
    """Two Python programs, unmodified, one of them on a bad network."""
    if not (Path(gannet).parent / "libgannet-preload.so").exists():
        say("libgannet-preload.so was not built, so `gannet run` is not shown.")
        return
    apart = dict(os.environ, GANNET_SESSION=f"demo-{os.getpid()}")  # from other programs of this user
    say(paint("gannet run -- python3 examples/echo_server.py", BOLD))
    server = subprocess.Popen([gannet, "run", "--", sys.executable, "-B", ECHO_SERVER, "127.0.0.1", "0"], stdout=subprocess.PIPE, text=True, env=apart)
    try:
        port = server.stdout.readline().strip()
        for flags in [], ["--loss", "20%", "--delay", "80ms"]:
            say(paint(f"gannet run {' '.join([*flags, '--summary'])} -- python3 client.py", BOLD))
            done = subprocess.run([gannet, "run", *flags, "--summary", "--", sys.executable, "-c", CLIENT, port], capture_output=True, text=True,
                                  check=False, timeout=60, env=apart)
            told(done.stdout.strip())
            for line in done.stderr.splitlines():
                say(f"   {paint(line, DIM)}")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        server.stdout.close()
    say()


# Where it runs.

def inside(options):
    """In the namespace. Says on standard error why it cannot be shown here, if so."""
    try:
        on_tap(options.gannet, options.capture)
    except Cannot as reason:
        print(reason, file=sys.stderr)
        return CANNOT
    return 0


def enter_namespace(options):
    """Runs this program in a namespace of its own. Raises Cannot where that is not to be had."""
    if options.without_namespace:
        raise Cannot("as you asked")
    if not shutil.which("unshare"):
        raise Cannot("there is no unshare(1) here")
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        raise Cannot(probe.stderr.strip() + ("" if os.geteuid() == 0 else "; root may: sudo ./dev demo"))
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        raise Cannot(f"/dev/net/tun: {error.strerror}") from error
    command = [*unshare, sys.executable, "-B", __file__, "--inside", "--gannet", options.gannet, "--capture", options.capture]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == CANNOT:
        raise Cannot(done.stderr.strip())
    sys.stderr.write(done.stderr)
    return done.returncode


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description="Kernel programs talk UDP to a host that is entirely ours, every packet printed.")
    parser.add_argument("--capture", default="demo.pcapng", metavar="FILE", help="where the packets go (demo.pcapng)")
    parser.add_argument("--gannet", default=str(ROOT / "build/release/gannet"), metavar="FILE", help="the command (build/release/gannet)")
    parser.add_argument("--without-namespace", action="store_true", help="show what needs no privilege at all")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not os.access(options.gannet, os.X_OK):
        print(f"demo: there is no {options.gannet}; build it with ./dev build release", file=sys.stderr)
        return 1
    if options.inside:
        return inside(options)
    under_run(options.gannet)
    try:
        return enter_namespace(options)
    except Cannot as reason:
        say(f"No network namespace with a TAP device here ({reason}), so this is shown on kernel sockets and on a wire in memory instead.")
    try:
        on_memory(options.gannet, options.capture)
    except Cannot as reason:
        print(f"demo: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
