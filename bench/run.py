#!/usr/bin/python3
"""Runs the benchmarks of this folder and prints one table; --json prints the same for scripts.

Instruction counts come from callgrind as the difference of two runs that differ by a known number of datagrams, so start-up costs cancel and the
figure repeats to the instruction. Nanoseconds come from Google Benchmark: the median of several runs with all contenders interleaved; they inform and never gate.
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

SIZES = (64, 1400)
FEW, MANY = 2_000, 12_000


def instructions(program: pathlib.Path, name: str, size: int) -> float:
    def collected(times: int) -> int:
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "--count", name, str(size), str(times)],
            capture_output=True, text=True, check=True)
        return int(re.search(r"Collected : (\d+)", run.stderr).group(1))

    return (collected(MANY) - collected(FEW)) / (MANY - FEW)


def nanoseconds(program: pathlib.Path, repetitions: int) -> dict[str, float]:
    run = subprocess.run(
        [program, "--benchmark_format=json", f"--benchmark_repetitions={repetitions}", "--benchmark_enable_random_interleaving=true",
         "--benchmark_min_time=0.1", "--benchmark_report_aggregates_only=true"],
        capture_output=True, text=True, check=True)
    found = {}
    for row in json.loads(run.stdout)["benchmarks"]:
        if row.get("error_occurred"):
            sys.exit(f"bench: {row['name']}: {row['error_message']}")
        if row.get("aggregate_name") == "median":
            found[row["run_name"]] = row["cpu_time"]
    return found


def contenders(program: pathlib.Path) -> list[str]:
    listed = subprocess.run([program, "--benchmark_list_tests"], capture_output=True, text=True, check=True).stdout.split()
    return list(dict.fromkeys(line.split("/")[0] for line in listed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"), help="where the release build is")
    parser.add_argument("--json", action="store_true", help="print JSON, one object")
    parser.add_argument("--repetitions", type=int, default=5, help="runs of each timed contender (default 5)")
    options = parser.parse_args()
    program = options.build / "bench" / "echo"
    if not program.exists():
        print(f"bench: no bench/echo under {options.build}: build it with ./dev build release (it needs Google Benchmark)", file=sys.stderr)
        return 1
    if shutil.which("valgrind") is None:
        print("bench: valgrind is missing, and instruction counts need it: apt-get install valgrind", file=sys.stderr)
        return 1

    names = contenders(program)
    print("timing ...", file=sys.stderr)
    times = nanoseconds(program, options.repetitions)
    rows = []
    for name in names:
        for size in SIZES:
            print(f"counting {name}/{size} ...", file=sys.stderr)
            rows.append({"contender": name, "payload": size, "instructions": round(instructions(program, name, size), 1), "ns": round(times[f"{name}/{size}"], 1)})
    memory = json.loads(subprocess.run([options.build / "bench" / "memory", "--json"], capture_output=True, text=True, check=True).stdout)
    if options.json:
        json.dump({"echo_in_memory": rows, "memory": memory}, sys.stdout, indent=2)
        print()
        return 0
    base = {row["payload"]: row["instructions"] for row in rows if row["contender"] == "lwip"}
    print(f"{'echo in memory':<18}{'payload':>8}{'instructions':>14}{'ns':>9}{'instructions / lwIP':>21}")
    for row in rows:
        ratio = f"{row['instructions'] / base[row['payload']]:.2f}" if row["payload"] in base else "-"
        print(f"{row['contender']:<18}{row['payload']:>8}{row['instructions']:>14.0f}{row['ns']:>9.1f}{ratio:>21}")
    print(f"memory: an idle host adds {memory['idle_host_kib']} KiB, a bound socket {memory['bound_socket_kib']} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
