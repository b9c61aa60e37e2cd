#!/usr/bin/python3
"""TCP and UDP over the very same wire: a file copied, and requests of 1 KB answered with 1 KB, at several rates of loss.

Two network namespaces, a TAP device in each, and between them bench/wire, which passes the frames of both through our fault units: loss, delay and
rate in each direction. The contenders take turns, so that whatever else the machine does meets all. Every copy and every answer is compared with its
original. Needs root.

TCP is the kernel's, with the congestion control that is named. UDP is examples/reliable for the file: a window of 64 packets and no congestion
control. For requests it is one datagram, sent again when no answer comes: after 1 s, as examples/dns_query does, or after what RFC 6298 makes of the
round trips seen.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
NEAR, FAR = "10.78.0.1", "10.78.0.2"
PATIENCE = 300


class Namespace:
    """One that lives as long as this object, with no IPv6, whose chatter would be lost and counted too."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; ip link set lo up; echo ready; exec sleep 100000"],
                                       stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            sys.exit("bench: no network namespace is to be had here; as root there is")
        self.pid = str(self.holder.pid)

    def inside(self, *command):
        return ["nsenter", "-t", self.pid, "-n", *map(str, command)]

    def run(self, *command, **more):
        return subprocess.run(self.inside(*command), capture_output=True, text=True, check=True, timeout=PATIENCE, **more).stdout

    def refused(self):
        """What the interface has dropped: nothing, or the figures say nothing."""
        stats = json.loads(self.run("ip", "-j", "-s", "link", "show", "wire0"))[0]["stats64"]
        return stats["rx"]["dropped"] + stats["rx"]["errors"] + stats["tx"]["dropped"] + stats["tx"]["errors"]

    def close(self):
        self.holder.terminate()
        self.holder.communicate()


class Wire:
    def __init__(self, program, near, far, **faults):
        flags = [word for name, value in faults.items() for word in ("--" + name, str(value))]
        self.process = subprocess.Popen([program, near.pid, far.pid, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            sys.exit("bench: the wire did not come up")
        # Neighbours known for good: an ARP request that is lost is a second's wait, and says nothing of TCP or UDP.
        hosts = ((near, NEAR), (far, FAR))
        address = {place: json.loads(place.run("ip", "-j", "link", "show", "wire0"))[0]["address"] for place, _ in hosts}
        for (place, own), (other, its) in (hosts, hosts[::-1]):
            place.run("ip", "address", "add", own + "/24", "dev", "wire0")
            place.run("ip", "neigh", "replace", its, "lladdr", address[other], "dev", "wire0", "nud", "permanent")

    def passed(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.communicate(timeout=PATIENCE)


def ends(place, *words):
    return json.loads(place.run(PYTHON, "-B", HERE / "ends.py", *words))


def copy_reliably(examples, near, far, original, folder):
    with open(original, "rb") as source, open(folder / "copy", "wb") as copy:
        receiver = subprocess.Popen(far.inside(examples / "reliable", "receive", f"{FAR}:7171"), stdout=copy, stderr=subprocess.PIPE, text=True)
        try:
            receiver.stderr.readline()
            begin = time.perf_counter()
            near.run(examples / "reliable", "send", f"{FAR}:7171", stdin=source)
            seconds = time.perf_counter() - begin  # until all was acknowledged
            receiver.communicate(timeout=PATIENCE)
        finally:
            receiver.kill()
    return {"seconds": seconds, "same": (folder / "copy").read_bytes() == original.read_bytes()}


def frames_between(before, after):
    """Of both directions: those that came, and those lost by reason."""
    sums = {}
    for name in after:
        for key, value in after[name].items():
            key = key if "interface" not in name else f"interface: {key}"
            sums[key] = sums.get(key, 0) + value - before[name].get(key, 0)
    return {key: value for key, value in sums.items() if key in ("frames", "passed") or (value and key != "held")}


def add(sums, more):
    for key, value in more.items():
        sums[key] = sums.get(key, 0) + value


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure(options, near, far, loss, folder, original):
    """{contender: result} of one rate of loss."""
    build = options.build.resolve()
    wire = Wire(build / "bench/wire", near, far, loss=f"{loss}%", delay=options.delay, rate=options.rate, queue=options.queue, seed=options.seed)
    server = subprocess.Popen(far.inside(PYTHON, "-B", HERE / "ends.py", "serve", FAR), stdout=subprocess.PIPE, text=True)
    files = {f"TCP, {how.upper()}": lambda how=how: ends(near, "copy", FAR, original, how) for how in ("cubic", "bbr") if how in available(near)}
    files["UDP, examples/reliable"] = lambda: copy_reliably(build / "examples", near, far, original, folder)
    questions = {"TCP, a connection each": "connect", "TCP, one connection": "keep", "UDP, again after 1 s": "udp", "UDP, again after the round trip": "udp-rtt"}
    results = {}
    try:
        server.stdout.readline()
        for turn in range(options.copies):
            for name, run in files.items():
                print(f"loss {loss:g} %: file, {name}: {turn + 1} of {options.copies} ...", file=sys.stderr)
                before = wire.passed()
                said = run()
                if not said["same"]:
                    sys.exit(f"bench: {name}: the copy is not what was sent")
                result = results.setdefault("file: " + name, {"seconds": [], "wire": {}})
                result["seconds"].append(said["seconds"])
                add(result["wire"], frames_between(before, wire.passed()))
        rounds = 4  # in turn, too
        for turn in range(rounds):
            for name, how in questions.items():
                print(f"loss {loss:g} %: requests, {name}: {turn + 1} of {rounds} ...", file=sys.stderr)
                before = wire.passed()
                said = ends(near, "ask", FAR, options.requests // rounds, how)
                if said["wrong"]:
                    sys.exit(f"bench: {name}: {said['wrong']} answers are not what was asked")
                result = results.setdefault("request: " + name, {"seconds": [], "again": 0, "wire": {}})
                result["seconds"] += said["seconds"]
                result["again"] += said["again"]
                add(result["wire"], frames_between(before, wire.passed()))
        refused = near.refused() + far.refused()
    finally:
        server.kill()
        server.communicate()
        wire.close()
    if refused:
        print(f"bench: the interfaces themselves lost {refused} frames at loss {loss} %", file=sys.stderr)
    for result in results.values():
        seconds = result["seconds"]
        result.update(count=len(seconds), p50=statistics.median(seconds), p99=quantile(seconds, 0.99), least=min(seconds), most=max(seconds))
        del result["seconds"]
    return {"interfaces_lost": refused, **results}


def measure_all(options):
    with tempfile.TemporaryDirectory() as folder:
        original = pathlib.Path(folder) / "original"
        original.write_bytes(os.urandom(options.size * 1_000_000))
        near, far = Namespace(), Namespace()
        try:
            return {f"{loss:g}": measure(options, near, far, loss, pathlib.Path(folder), original) for loss in options.loss}
        finally:
            near.close()
            far.close()


def available(place):
    return place.run("sysctl", "-n", "net.ipv4.tcp_available_congestion_control").split()


def rows_of(results, kind):
    losses = list(results)
    return [(name.split(": ", 1)[1], [results[loss][name] for loss in losses]) for name in results[losses[0]] if name.startswith(kind + ": ")]


def lost(result):
    """In percent of its frames: what the faults took, and what found the queue of the line full. (What is under way is in neither.)"""
    wire = result["wire"]
    return 100 * sum(value for key, value in wire.items() if key not in ("frames", "passed")) / wire["frames"]


def print_tables(options, results):
    losses = list(results)
    print(f"\n{options.rate} and {options.delay} each way, a queue of {options.queue // 1024} KiB before the line. Frames lost in parentheses.\n")
    print(f"|{options.size} MB copied, median of {options.copies}|" + "|".join(f"{loss} % loss" for loss in losses) + "|\n|-|" + "-|" * len(losses))
    for name, row in rows_of(results, "file"):
        print(f"|{name}|" + "|".join(f"{each['p50']:.2f} s, {options.size * 8 / each['p50']:.1f} Mbit/s ({lost(each):.1f} %)" for each in row) + "|")
    print("\n|1 KB asked, 1 KB answered, p50 / p99|" + "|".join(f"{loss} % loss" for loss in losses) + "|\n|-|" + "-|" * len(losses))
    for name, row in rows_of(results, "request"):
        print(f"|{name}|" + "|".join(f"{1e3 * each['p50']:.1f} / {1e3 * each['p99']:.0f} ms ({lost(each):.1f} %)" for each in row) + "|")
    if any(results[loss]["interfaces_lost"] for loss in losses):
        print("\nThe interfaces lost frames of themselves: " + ", ".join(f"{results[loss]['interfaces_lost']} at {loss} %" for loss in losses))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"), help="where the release build is")
    parser.add_argument("--loss", type=float, nargs="+", default=[0, 1, 5], help="percent, in each direction (default 0 1 5)")
    parser.add_argument("--delay", default="10ms", help="of each direction (default 10ms)")
    parser.add_argument("--rate", default="100mbit", help="of each direction (default 100mbit)")
    parser.add_argument("--queue", type=int, default=256 * 1024, help="bytes that wait for the line (default 262144)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=8, help="of the file, MB (default 8)")
    parser.add_argument("--copies", type=int, default=5, help="of each contender and loss (default 5)")
    parser.add_argument("--requests", type=int, default=400, help="of each contender and loss (default 400)")
    parser.add_argument("--json", action="store_true", help="print JSON, one object")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="draw what was measured, as SVG")
    parser.add_argument("--again", type=pathlib.Path, metavar="FILE", help="measure nothing: print or draw what --json wrote")
    options = parser.parse_args()
    if options.again:
        results = (said := json.loads(options.again.read_text())).pop("loss")
        vars(options).update(said)
    elif not (options.build / "bench/wire").exists():
        print(f"bench: no bench/wire under {options.build}: build it with ./dev build release", file=sys.stderr)
        return 1
    elif os.geteuid() != 0:
        print("bench: two namespaces that reach each other, and devices in them, are made by root: sudo ./dev bench tcp", file=sys.stderr)
        return 4
    else:
        results = measure_all(options)
    if options.plot:
        import plot
        options.plot.write_text(plot.draw(results, options))
    if options.json:
        how = {name: getattr(options, name) for name in ("rate", "delay", "queue", "seed", "size", "copies")}
        json.dump({**how, "loss": results}, sys.stdout, indent=2)
        print()
    else:
        print_tables(options, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
