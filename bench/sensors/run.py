#!/usr/bin/python3
"""10,000 sensors that report ten times a second, and one collector: what it costs, and what is lost, over the kernel's sockets and under `gannet run`.

examples/sensors and examples/collector, both over the kernel's loopback or both under `gannet run --via none` or `--via kernel`, in turn. "packed" is as
many reports to a datagram as fit, all sensors at once; "single" is a datagram for each report, spread over the period: 100,000 a second. CPU is the
collector's own, the sensors' and the hub's, each per second of the run; the collector counts what it missed, and the rest is what it never heard of.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "run"))  # before this file, which has the same name
from run import RUN_TIME, Gannet, Kernel, free_port  # how a hub of our own is run and measured


def cpu_of(process) -> float:
    """In seconds, of a process and what it has waited for, once it has ended."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench: {process.args} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure(host, examples, options, flags) -> dict:
    place = f"127.0.0.1:{free_port()}"
    before = host.hub_cpu()
    collector = subprocess.Popen([*host.prefix, examples / "collector", place], env=host.environment, stdout=subprocess.PIPE, text=True)
    try:
        if "Listening" not in collector.stdout.readline():
            sys.exit("bench: the collector did not start")
        words = [str(number) for number in (options.sensors, options.hertz, options.seconds)]
        sensors = subprocess.Popen([*host.prefix, examples / "sensors", place, *words, *flags], env=host.environment, stdout=subprocess.PIPE, text=True)
        said = sensors.stdout.read()
        sensors_cpu = cpu_of(sensors)
        heard = collector.stdout.read()
        collector_cpu = cpu_of(collector)
    finally:
        if collector.returncode is None:
            collector.kill()
    sent, datagrams = map(int, re.search(r"(\d+) reports of .* in (\d+) datagrams", said).groups())
    reports, missed, late, doubled = map(int, re.search(r"(\d+) reports, (\d+) lost, (\d+) late, (\d+) doubled", heard.splitlines()[-1]).groups())
    if doubled or late:
        sys.exit(f"bench: {late} reports late, {doubled} doubled, where nothing does that")
    seconds = options.seconds
    return {
        "sent": sent,
        "datagrams_per_second": datagrams / seconds,
        "lost": 1 - reports / sent,
        "known_lost": missed / sent,
        "collector": collector_cpu / seconds,
        "sensors": sensors_cpu / seconds,
        "hub": (host.hub_cpu() - before) / seconds,
        "us_per_report": 1e6 * collector_cpu / reports,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"), help="where the release build is")
    parser.add_argument("--sensors", type=int, default=10_000)
    parser.add_argument("--hertz", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON, one object")
    options = parser.parse_args()
    examples = options.build.resolve() / "examples"
    command = options.build.resolve() / "gannet"
    if not command.exists() or not (examples / "sensors").exists():
        print(f"bench: no gannet or examples under {options.build}: build them with ./dev build release", file=sys.stderr)
        return 1
    runs: dict[str, list[dict]] = {}
    hosts = {"kernel": Kernel()}
    try:
        for via in "none", "kernel":
            hosts[f"gannet run --via {via}"] = Gannet(command, via)
        for turn in range(options.rounds):
            for mode, flags in ("packed", []), ("single", ["--single"]):
                for name, host in hosts.items():
                    print(f"{mode}, {name}: {turn + 1} of {options.rounds} ...", file=sys.stderr)
                    runs.setdefault(f"{mode}, {name}", []).append(measure(host, examples, options, flags))
    finally:
        for host in hosts.values():
            if isinstance(host, Gannet):
                host.close()
    medians = {name: {key: statistics.median(run[key] for run in done) for key in done[0]} for name, done in runs.items()}
    worst = {name: max(run["lost"] for run in done) for name, done in runs.items()}
    if options.json:
        json.dump({name: {**row, "most_lost": worst[name]} for name, row in medians.items()}, sys.stdout, indent=2)
        print()
        return 0
    print(f"{options.sensors} sensors, {options.hertz} times a second, for {options.seconds} s; medians of {options.rounds}\n")
    print("|datagrams|over|datagrams/s|CPU of the collector|a report|CPU of the sensors|CPU of the hub|lost, at most|\n|-|-|-|-|-|-|-|-|")
    for name, row in medians.items():
        mode, host = name.split(", ")
        print(f"|{mode}|{host}|{row['datagrams_per_second']:,.0f}|{row['collector']:.1%}|{row['us_per_report']:.2f} us|{row['sensors']:.1%}|{row['hub']:.1%}|"
              f"{'none' if worst[name] == 0 else format(worst[name], '.2%')}|")
    return 0


if __name__ == "__main__":
    sys.exit(main())
