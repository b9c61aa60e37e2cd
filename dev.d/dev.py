"""The commands of ./dev. Each installs what it needs and lacks, says what it does, and ends with 0 (done), 1 (failed), 2 (usage) or 4 (permission)."""
import argparse
import os
import sys
from contextlib import nullcontext

import build
import check
import fuzz
import tests
from machine import BUILD, FAILED, PERMISSION, PYTHON, ROOT, Stop, need, output_of, run, say, stdout_to_stderr


def demo(options):
    need("netns")
    build.build("release")
    return run([PYTHON, "-B", "demo/demo.py", *options.arguments])


def bench(options):
    json = ["--json"] if options.json else []
    with stdout_to_stderr() if json else nullcontext():
        need("bench", *(["netns"] if options.what == "tcp" else []), *(["cli"] if options.what == "dtls" else []))
        build.build("release")
    script = "bench/run.py" if options.what == "memory" else f"bench/{options.what}/run.py"
    if (ROOT / script).exists():  # knows which programs to run, how, and what to compare
        return run([PYTHON, "-B", script, *json])
    programs = sorted(path for path in (BUILD / "release/bench").iterdir() if path.is_file() and os.access(path, os.X_OK))
    return max((run([program, *(["--benchmark_format=json"] if json else [])]) for program in programs), default=FAILED)


def netns(options):
    need("netns")
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-U", "-r", "-n"]
    tried = output_of([*unshare, "true"])
    if tried.returncode != 0:
        raise Stop(f"this machine does not let us make a network namespace ({tried.stderr.strip()}). As root it may: sudo ./dev netns", PERMISSION)
    command = options.arguments or [os.environ.get("SHELL", "/bin/sh")]
    if not options.arguments:
        say("dev: a shell in a network namespace of its own: lo is up, nothing else is there, and nothing done here reaches outside; leave with exit")
    return run([*unshare, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command])


def format_sources(options):
    need("check")
    return run(["clang-format-19", "-i", *check.sources()])


def ci(options):
    tested = tests.command("dev", None)
    return max(tested, check.command([]))


def parser():
    main = argparse.ArgumentParser(
        prog="./dev",
        description="Builds, tests, checks and shows Gannet. Each command installs the Debian packages that it needs and that are missing, naming them "
        "first (all are listed in dev.d/packages.txt).",
        epilog="first time here:  ./dev demo      the kernel's own programs talk UDP to a host that is entirely ours\n"
        "every day:        ./dev test      all tests;  ./dev test -R Udp   those whose name matches\n"
        "before a commit:  ./dev format && ./dev check\n"
        "where is it:      build/release/gannet after ./dev build release",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main.add_subparsers(metavar="COMMAND", required=True)

    def add(name, does, function, **more):
        command = commands.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".", **more)
        command.set_defaults(function=function)
        return command

    add("demo", "show the main job: kernel programs talking to our host, every packet printed", demo, usage="./dev demo [option of demo/demo.py ...]")

    test = add("test", "build with sanitizers and run all tests; what cannot run here is listed as skipped, with the reason",
               lambda options: tests.command(options.preset, options.regex))
    test.add_argument("-R", dest="regex", metavar="REGEX", help="only tests whose name (wire_test.Udp.ParsesWhatItEmits) matches")
    test.add_argument("--preset", choices=["dev", "tsan"], default="dev", help="dev: address and undefined behaviour (default); tsan: data races")

    presets = "; ".join(f"{name}: {what}" for name, what in build.PRESETS.items())
    add("build", "configure and build one preset", lambda options: build.build(options.preset), epilog=presets) \
        .add_argument("preset", nargs="?", default="dev", choices=list(build.PRESETS), help="default: dev")

    rules = "; ".join(f"{name}: {rule.what}" for name, rule in check.RULES.items())
    add("check", "enforce the house rules (docs/RULES.md): all of them, or those named", lambda options: check.command(options.rules), epilog=rules) \
        .add_argument("rules", nargs="*", metavar="RULE", help=" ".join(check.RULES))

    fuzzing = add("fuzz", "run one fuzz target, or all of them, for a while; a crash is kept and named", fuzz.command)
    fuzzing.add_argument("target", nargs="?", help="its name, or `all`")
    fuzzing.add_argument("seconds", nargs="?", type=int, default=60, help="for how long each (default: 60)")
    fuzzing.add_argument("--list", action="store_true", help="name the targets")

    add("netns", "a shell, or a command, in a network namespace of its own", netns, usage="./dev netns [COMMAND ...]")
    measure = add("bench", "build release and measure: instructions and nanoseconds per datagram; `bench run`: programs under `gannet run`, beside the kernel; "
                  "`bench sensors`: 10,000 of them and a collector, likewise; `bench dtls`: records, handshakes and peers beside openssl speed; `bench tcp`: TCP and UDP over the same wire with loss", bench)
    measure.add_argument("what", nargs="?", choices=["memory", "run", "sensors", "dtls", "tcp"], default="memory",
                         help="memory: frames in memory (default); run, sensors: whole programs; dtls: sealed datagrams in memory; tcp: the kernel's TCP, as root")
    measure.add_argument("--json", action="store_true")
    add("ci", "what must hold before anything lands: test, then check", ci)
    add("format", "put all sources into the house format", format_sources)
    return main


def main():
    arguments = sys.argv[1:]
    passed_on = arguments[1:] if arguments[:1] in (["demo"], ["netns"]) and arguments[1:2] not in (["-h"], ["--help"]) else []
    options = parser().parse_args(arguments[: len(arguments) - len(passed_on)])
    options.arguments = passed_on
    try:
        return options.function(options) or 0
    except Stop as stop:
        print(f"dev: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
