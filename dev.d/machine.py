"""The machine that ./dev runs on: its packages, its processors, its privileges, and how to run a command on it."""
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's modules; the one in PATH may be another

FAILED, USAGE, PERMISSION = 1, 2, 4


class Stop(Exception):
    """Ends the command with one sentence and an exit code."""

    def __init__(self, sentence, code=FAILED):
        super().__init__(sentence)
        self.code = code


def say(text=""):
    print(text, flush=True)


def jobs():
    return len(os.sched_getaffinity(0))


def run(command, **options):
    """Runs a command in the project's root, its output passing through; returns its exit code."""
    sys.stdout.flush()
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False, **options).returncode


def output_of(command, **options):
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False, capture_output=True, text=True, **options)


def seconds_since(start):
    return f"{time.monotonic() - start:.1f} s"


@contextmanager
def stdout_to_stderr():
    """For commands whose output is data: what is said on the way to it goes to stderr, also by the programs that we run."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


# Packages.

def groups():
    table = {}
    for line in (ROOT / "dev.d/packages.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            group, packages = line.split(":")
            table[group] = packages.split()
    return table


def missing(packages):
    if not packages:
        return []
    known = output_of(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages]).stdout
    installed = {line.split()[0] for line in known.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def need(*names):
    """Installs what is missing of these groups, naming it first."""
    if shutil.which("dpkg-query") is None:
        return  # not Debian: CMake says what it does not find
    wanted = {name: missing(groups()[name]) for name in names}
    wanted = {name: packages for name, packages in wanted.items() if packages}
    packages = [package for group in wanted.values() for package in group]
    if not packages:
        return
    say("dev: installing Debian packages (listed in dev.d/packages.txt): " + "; ".join(f"{name}: {' '.join(group)}" for name, group in wanted.items()))
    if os.geteuid() == 0:
        root = []
    elif shutil.which("sudo"):
        root = ["sudo"]
    else:
        raise Stop(f"there is neither root nor sudo to install them. As root: apt-get install --no-install-recommends {' '.join(packages)}", PERMISSION)

    known = output_of(["apt-cache", "policy", *packages]).stdout
    if known.count("Candidate:") < len(packages) or "Candidate: (none)" in known:
        say("dev: apt-get update")
        if run([*root, "apt-get", "update", "-qq"]) != 0:
            raise Stop("apt-get update failed; it says why above")
    install = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", *packages]
    if not _apt(install):
        say("dev: that failed, perhaps because the package lists are old: apt-get update, and once more")
        run([*root, "apt-get", "update", "-qq"])
        if not _apt(install):
            raise Stop(f"the packages could not be installed. By hand, as root: apt-get install --no-install-recommends {' '.join(packages)}")


def _apt(command):
    """Runs apt-get install; of its output, shows one counted line per package, and the end of it where it fails."""
    start, lines, total, done = time.monotonic(), [], 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            lines.append(line)
            if match := re.match(r"\d+ upgraded, (\d+) newly installed", line):
                total = int(match[1])
            elif match := re.match(r"Need to get (.*) of archives", line):
                say(f"  {total} packages with what they depend on, {match[1].split('/')[0].strip()} to fetch")
            elif match := re.match(r"Setting up (\S+)", line):
                done += 1
                if done % 10 == 0 or done == total:
                    say(f"  [{done}/{total}] {match[1].split(':')[0]}")
    if process.returncode != 0:
        say("".join(lines[-15:]))
        return False
    say(f"  installed in {seconds_since(start)}")
    return True
