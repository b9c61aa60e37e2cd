"""The rules that other programs judge: clang-format, clang-tidy, and the compiler on each header alone.

Clean results are remembered in build/check, keyed by everything that they depend on: the tool, its options, the file, and all of ours that it includes.
"""
import hashlib
import json
import re
import shlex
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import build
import cxx
from machine import BUILD, ROOT, jobs, output_of, say

Finding = namedtuple("Finding", "path line what why do")


def formatting(files):
    found = output_of(["clang-format-19", "--dry-run", *files]).stderr
    lines = sorted({(path, int(line)) for path, line in re.findall(r"^(\S+?):(\d+):\d+: warning: ", found, re.MULTILINE)})
    seen = {}
    for path, line in lines:
        seen.setdefault(path, []).append(line)
    for path, its in seen.items():
        yield Finding(path, its[0], f"{len(its)} lines are not in the house format", "one format everywhere keeps changes small", "run ./dev format")


class Remembered:
    """A set of keys, in a file, of what was found clean."""

    def __init__(self, name):
        self.path = BUILD / "check" / f"{name}.json"
        self.old = set(json.loads(self.path.read_text())) if self.path.exists() else set()
        self.current = set()

    def has(self, key):
        if key in self.old:
            self.current.add(key)
        return key in self.old

    def save(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(sorted(self.old | self.current)[-5000:]))


def key_of(path, *more):
    digest = hashlib.sha256("\0".join(more).encode())
    for part in cxx.closure(path):
        digest.update(f"\0{part}\0{cxx.text(part)}".encode())
    return digest.hexdigest()


def each(name, work):
    """Runs what is not remembered, `work` being {path: (command, key)}; yields (path, completed) of those that failed."""
    known = Remembered(name)
    todo = [(path, command, key) for path, (command, key) in work.items() if not known.has(key)]
    try:
        with ThreadPoolExecutor(jobs()) as pool:
            for done, (path, key, completed) in enumerate(pool.map(lambda item: (item[0], item[2], output_of(item[1])), todo), 1):
                if completed.returncode == 0:
                    known.current.add(key)
                else:
                    yield path, completed
                if done % 10 == 0:
                    say(f"  {name} {done}/{len(todo)}")
    finally:
        known.save()


def headers(files):
    version = output_of(["g++", "--version"]).stdout
    work = {}
    for path in files:
        if not path.endswith(".h") or not path.startswith(("include/", "src/")):
            continue
        public = path.startswith("include/")
        command = ["g++", "-std=c++20" if public else "-std=c++23", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Iinclude",
                   *([] if public else ["-Isrc"]), "-include", path, "-x", "c++", "/dev/null"]
        work[path] = command, key_of(path, version, *command)
    for path, completed in each("headers", work):
        first = re.search(r"^(\S+?):(\d+):.*?(?:error|fatal error): (.*)$", completed.stderr, re.MULTILINE)
        where, line, what = first.groups() if first else (path, 1, completed.stderr.strip()[:200])
        yield Finding(path, line if where == path else 1, f"does not compile alone: {where}:{line}: {what}", "a header stands alone, the public ones in a C++20 program",
                      "include what it uses")


def tidy(files):
    build.configure("dev", BUILD / "check/commands", "-DGANNET_UNITY=OFF")  # a command for each file
    version = output_of(["clang-tidy-19", "--version"]).stdout + (ROOT / ".clang-tidy").read_text()
    commands = {entry["file"]: entry.get("command", "") for entry in json.loads((BUILD / "check/commands/compile_commands.json").read_text())}
    work = {}
    for path in files:
        if flags := commands.get(str(ROOT / path)):
            command = ["clang-tidy-19", "-p", "build/check/commands", "--quiet", path]
            work[path] = command, key_of(path, version, *command, " ".join(shlex.split(flags)[1:]))
    seen = set()
    for path, completed in each("tidy", work):
        found = re.findall(r"^(\S+?):(\d+):\d+: (?:warning|error): (.*?)(?: \[([\w.,-]+)\])?$", completed.stdout, re.MULTILINE)
        if not found:
            yield Finding(path, 1, "clang-tidy failed: " + (completed.stdout + completed.stderr).strip()[-300:], "", "")
        for where, line, what, check in found:
            where = where.removeprefix(f"{ROOT}/")
            if (where, line, what) not in seen:
                seen.add((where, line, what))
                yield Finding(where, int(line), f"{what} ({check.split(',')[0]})", "", "fix it; or, where the check is wrong, // NOLINT(its-name): the reason")
