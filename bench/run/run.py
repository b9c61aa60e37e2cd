#!/usr/bin/python3
"""Unmodified programs over the kernel's loopback and over `gannet run`, in turn, and what came of each: the medians, their ratio, losses, CPU per datagram.

The kernel and Gannet alternate, run by run, so that whatever else the machine does meets both. CPU is of all processes together: the programs', from
getrusage(2), and the hub's. A rate counts what was delivered; a row that lost more than 1 % says so.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
START_TIME = 10.0
RUN_TIME = 60.0


def free_port() -> int:
    """Of the kernel's; our host has all of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gannet:
    """`gannet run`, and a hub of our own that lives as long as this object."""

    name = "gannet"

    def __init__(self, command: pathlib.Path, via: str):
        self.folder = tempfile.TemporaryDirectory()
        os.chmod(self.folder.name, 0o700)
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": self.folder.name}
        self.command = command
        self.via = via
        self.via = via
        self.prefix = [str(command), "run", "--via", via, "--"]
        self.keeper = subprocess.Popen([*self.prefix, "sleep", "100000"], env=self.environment)
        end = time.monotonic() + START_TIME
        while True:
            status = subprocess.run([command, "hub", "status", "--via", via, "--json"], env=self.environment, capture_output=True, text=True)
            if status.returncode == 0:
                break
            if time.monotonic() > end:
                sys.exit("bench: no hub came up")
            time.sleep(0.05)
        self.hub = json.loads(status.stdout)["process"]

    def hub_cpu(self) -> float:
        return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{self.hub}/task").glob("*/schedstat")) / 1e9

    def hub_kib(self) -> int:
        fields = pathlib.Path(f"/proc/{self.hub}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS"))

    def close(self):
        self.keeper.send_signal(signal.SIGTERM)
        self.keeper.wait()
        subprocess.run([self.command, "hub", "down", "--via", self.via], env=self.environment, capture_output=True)


class Kernel:
    name = "kernel"
    environment = dict(os.environ)
    prefix: list[str] = []

    def hub_cpu(self) -> float:
        return 0.0


def last_object(text: str) -> dict:
    return json.loads(text.strip().splitlines()[-1])


def run_pair(host, server: list[str], client: list[str]) -> dict:
    """What both said, the server's words first: {"cpu": of all, ...}."""
    before = host.hub_cpu()
    serving = subprocess.Popen([*host.prefix, *server], env=host.environment, stdout=subprocess.PIPE, text=True)
    try:
        if serving.stdout.readline().strip() != "ready":
            sys.exit(f"bench: {' '.join(server)} did not start")
        asked = subprocess.run([*host.prefix, *client], env=host.environment, capture_output=True, text=True, timeout=RUN_TIME, check=True)
        served, _ = serving.communicate(timeout=RUN_TIME)
    finally:
        serving.kill()
    server_said, client_said = last_object(served), last_object(asked.stdout)
    return {**server_said, **client_said, "cpu": server_said["cpu"] + client_said["cpu"] + host.hub_cpu() - before}


def rate_of(host, server: list[str], client: list[str], datagrams_each: int = 1) -> dict:
    said = run_pair(host, server, client)
    return {
        "value": said["received"] / said["seconds"],
        "lost": 1 - said["received"] / said["sent"],
        "cpu_us": said["cpu"] / (said["received"] * datagrams_each) * 1e6,
    }


def flow(pair: str, batch: int, size: int, count: int):
    def measure(host) -> dict:
        port = str(free_port())
        return rate_of(host, [pair, "receive", port, str(batch)], [pair, "send", port, str(batch), str(size), str(count)])

    return measure


def trip(pair: str, how: str, count: int):
    def measure(host) -> dict:
        port = str(free_port())
        said = run_pair(host, [pair, "answer", port, how], [pair, "ask", port, how, str(count)])
        return {"value": said["microseconds"], "lost": 1 - said["received"] / said["sent"], "cpu_us": said["cpu"] / (2 * said["received"]) * 1e6}

    return measure


def trip_alone(pair: str, count: int):
    """Both ends in one thread, so that two cores are enough for the program and the hub."""

    def measure(host) -> dict:
        before = host.hub_cpu()
        said = last_object(subprocess.run([*host.prefix, pair, "both", str(free_port()), str(count)], env=host.environment, capture_output=True, text=True,
                                          timeout=RUN_TIME, check=True).stdout)
        cpu = said["cpu"] + host.hub_cpu() - before
        return {"value": said["microseconds"], "lost": 1 - said["received"] / said["sent"], "cpu_us": cpu / (2 * said["received"]) * 1e6}

    return measure


def sockperf(how: str):
    """`ping-pong`: the median there and back, which sockperf halves; `throughput`: what its server counted, of as many as its client could send."""

    def measure(host) -> dict:
        place = ["-i", "127.0.0.1", "-p", str(free_port())]
        before = host.hub_cpu() + sum(os.times()[2:4])
        server = subprocess.Popen([*host.prefix, "sockperf", "server", *place], env=host.environment, stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        client = subprocess.run([*host.prefix, "sockperf", how, *place, "-t", "2", "-m", "64"], env=host.environment, capture_output=True, text=True,
                                timeout=RUN_TIME, check=True).stdout
        server.send_signal(signal.SIGINT)
        served, _ = server.communicate(timeout=RUN_TIME)
        cpu = host.hub_cpu() + sum(os.times()[2:4]) - before
        received = int(re.search(r"Total (\d+) messages received", served)[1])
        if how == "ping-pong":
            sent, answers = map(int, re.search(r"\[Valid Duration\].*SentMessages=(\d+); ReceivedMessages=(\d+)", client).groups())
            median = float(re.search(r"percentile 50.000 = *([0-9.]+)", client)[1])
            return {"value": 2 * median, "lost": max(0.0, 1 - answers / sent), "cpu_us": cpu / (2 * received) * 1e6}
        sent, duration = re.search(r"Total of (\d+) messages sent in ([0-9.]+) sec", client).groups()
        return {"value": received / float(duration), "lost": max(0.0, 1 - received / int(sent)), "cpu_us": cpu / received * 1e6}

    return measure


def python_echo(count: int):
    def measure(host) -> dict:
        port = str(free_port())
        script = str(HERE / "echo.py")
        return rate_of(host, [PYTHON, script, "serve", port], [PYTHON, script, "ask", port, str(count)], 2)

    return measure


def idle(gannet: Gannet) -> dict:
    """What a hub with a waiting socket costs while nothing happens."""
    serving = subprocess.Popen([*gannet.prefix, PYTHON, str(HERE / "echo.py"), "serve", "7"], env=gannet.environment, stdout=subprocess.PIPE, text=True)
    serving.stdout.readline()
    time.sleep(0.5)
    before = gannet.hub_cpu()
    time.sleep(2)
    spent = gannet.hub_cpu() - before
    serving.terminate()
    serving.wait()
    return {"cpu_ms_per_second": round(spent / 2 * 1e3, 3), "hub_kib": gannet.hub_kib()}


def summary(runs: dict[str, list[dict]]) -> dict:
    median = {name: {key: statistics.median(run[key] for run in done) for key in done[0]} for name, done in runs.items()}
    return {**median, "ratio": median["gannet"]["value"] / median["kernel"]["value"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"), help="where the release build is")
    parser.add_argument("--via", default="none", help="what `gannet run --via` is given (default none)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, kernel and Gannet in turn (default 5)")
    parser.add_argument("--only", metavar="WORD", default="", help="only rows whose name has it")
    parser.add_argument("--json", action="store_true", help="print JSON, one object")
    options = parser.parse_args()
    build = options.build.resolve()
    pair = str(build / "bench" / "pair")
    if not pathlib.Path(pair).exists() or shutil.which("python3", path="/usr/bin") is None:
        print(f"bench: no bench/pair under {options.build}: build it with ./dev build release", file=sys.stderr)
        return 1

    rows = [
        ("sendto/recvfrom, 64 bytes", "datagrams/s", ">= 3", flow(pair, 1, 64, 200_000)),
        ("sendto/recvfrom, 1400 bytes", "datagrams/s", ">= 3", flow(pair, 1, 1400, 200_000)),
        ("sendmmsg/recvmmsg, 64 bytes", "datagrams/s", ">= 1.2", flow(pair, 32, 64, 400_000)),
        ("sendmmsg/recvmmsg, 1400 bytes", "datagrams/s", ">= 1.2", flow(pair, 32, 1400, 400_000)),
        ("Python echo, 256 in flight", "echoes/s", ">= 2", python_echo(40_000)),
        ("round trip, spinning, one thread", "us", "< 1", trip_alone(pair, 5_000)),
        ("round trip, spinning", "us", "< 1", trip(pair, "spin", 5_000)),
        ("round trip, blocking", "us", "<= 1.5", trip(pair, "block", 5_000)),
    ]
    if shutil.which("sockperf") is not None:
        rows += [("sockperf ping-pong", "us", "<= 1.5", sockperf("ping-pong")), ("sockperf throughput", "datagrams/s", ">= 3", sockperf("throughput"))]
    else:
        print("bench: no sockperf here, so its rows are left out", file=sys.stderr)
    gannet = Gannet(build / "gannet", options.via)
    results = {}
    try:
        for name, unit, aim, measure in rows:
            if options.only not in name:
                continue
            runs: dict[str, list[dict]] = {"kernel": [], "gannet": []}
            for turn in range(options.rounds):
                print(f"{name}: {turn + 1} of {options.rounds} ...", file=sys.stderr)
                for host in (Kernel(), gannet):
                    runs[host.name].append(measure(host))
            results[name] = {"unit": unit, "aim": aim, **summary(runs)}
        rest = idle(gannet)
    finally:
        gannet.close()

    if options.json:
        json.dump({"run": results, "idle": rest}, sys.stdout, indent=2)
        print()
        return 0
    print(f"{'':<34}{'kernel':>10}{'gannet':>10} {'':<12}{'ratio':>6}  {'aim':<7}{'CPU/datagram, us':>17}  lost")
    for name, row in results.items():
        kernel, ours = row["kernel"], row["gannet"]
        cpu = f"{kernel['cpu_us']:.2f} {ours['cpu_us']:.2f}"
        lost = f"{kernel['lost']:.1%} {ours['lost']:.1%}" if max(kernel["lost"], ours["lost"]) >= 0.0005 else "none"
        digits = 1 if row["unit"] == "us" else 0
        print(f"{name:<34}{kernel['value']:>10.{digits}f}{ours['value']:>10.{digits}f} {row['unit']:<12}{row['ratio']:>6.2f}  {row['aim']:<7}{cpu:>17}  {lost}")
    print(f"idle hub: {rest['cpu_ms_per_second']} ms of CPU a second, {rest['hub_kib']} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
