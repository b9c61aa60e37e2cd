"""./dev check: the house rules of docs/RULES.md, each as a function that yields what breaks it.

A finding says where, what, why and what to do; the last two once, where several findings of a rule share them.
"""
import ast
import fnmatch
import re
import time
from collections import namedtuple
from functools import cache

import cxx
import tidy
from machine import ROOT, USAGE, Stop, need, output_of, say, seconds_since

# Where, what is wrong, why that matters, what to do.
Finding = namedtuple("Finding", "path line what why do")

CORE = ("base", "beacon", "wire", "link", "stack", "engine", "socket", "dtls")  # what the libraries are made of
PURE = ("base", "beacon", "wire", "link", "stack", "dtls")  # of these, the rooms that know no time, no thread and no environment
PACKAGES = {"dtls": "openssl/"}  # the library beside the core, and what it stands on

# What a rule does not apply to, and why not.
WAIVERS = {
    ("clocks", "src/base/log*"): "the log limits its own rate and stamps its lines; nothing that it reads reaches a protocol",
    ("clocks", "src/link/tap_link_test.cc"): "the kernel at the other end delivers when it likes",
    ("clocks", "src/beacon/session*"): "a beacon at work: it alone of its room reads a clock and waits",
    ("threads", "src/beacon/session*"): "a beacon at work has a thread, and is asked by others",
    ("clocks", "src/beacon/ports.cc"): "a deadline of now is none: its sockets are never waited for",
    ("core", "src/beacon/session.cc"): "as src/engine/engine.cc",
    ("clocks", "src/dtls/provider.cc"): "the endpoint at work: it alone of its room reads a clock and waits",
    ("clocks", "src/dtls/endpoint_test.cc"): "stands in for the system's clock, which OpenSSL asks",
    ("threads", "src/dtls/provider*"): "a sealed socket is used from any threads",
    ("threads", "src/base/ring*"): "the ring is where threads and processes meet",
    ("threads", "src/base/counter*"): "counters are read from other threads",
    ("threads", "src/base/log*"): "any thread may log",
    ("threads", "src/link/frame_ring*"): "two engines in two threads meet at a memory link",
    ("threads", "src/link/memory_link*"): "two engines in two threads meet at a memory link",
    ("threads", "src/link/port_bell*"): "two engines in two threads meet at a memory link",
    ("threads", "src/link/byte_ring*"): "an engine and the thread that writes its capture meet here",
    ("threads", "src/link/spool*"): "the thread that writes a capture, so that no disk holds up a packet",
    ("threads", "src/stack/record_ring*"): "the ring of an endpoint, where threads and processes meet",
    ("threads", "src/stack/endpoint*"): "the application's side of an endpoint is another thread's or process's",
    ("core", "src/engine/engine.cc"): "std::thread says by an exception that the system has no thread left; there it becomes a Result",
    ("globals", "src/base/log*"): "there is one standard error per process",
}


@cache
def files():
    listed = output_of(["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"])
    if listed.returncode != 0:
        raise Stop(f"git does not list the project's files: {listed.stderr.strip()}")
    return sorted(path for path in set(listed.stdout.splitlines()) if (ROOT / path).is_file())


@cache
def sources():
    return [path for path in files() if path.endswith((".cc", ".h"))]


def room_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "src" and len(parts) == 3 else None


def is_test(path):
    return path.endswith("_test.cc") or path.startswith("tests/")


def waived(rule, path):
    return any(rule == name and fnmatch.fnmatch(path, pattern) for name, pattern in WAIVERS)


# Who may include whom.

@cache
def layers():
    """room -> rooms that it may include, read from the gannet_room and gannet_command lines."""
    table = {}
    for path in files():
        if re.fullmatch(r"src/\w+/CMakeLists.txt", path):
            for name, dependencies in re.findall(r"^gannet_(?:room|addition|command|preload)\((\w+)(?: DEPS ([\w ]+))?\)", cxx.text(path), re.MULTILINE):
                table[name] = {name, *dependencies.split()}
    return table


def layering():
    for path in sources():
        room = room_of(path)
        for line, quote, name in cxx.includes(path):
            other = name.split("/")[0]
            if path.startswith("examples/") and (ROOT / "examples" / name).is_file():
                continue  # its own other half
            if path.startswith(("include/", "examples/")) and (quote == '"' or (ROOT / "src" / name).is_file()):
                yield Finding(path, line, f'includes "{name}"', "public headers and examples stand on the public API alone", "include <gannet/...>, or move what you need there")
            elif quote == '"' and room in layers() and other not in layers()[room]:
                allowed = " ".join(sorted(layers()[room]))
                yield Finding(path, line, f"{room} includes {other}", f"a room knows only the rooms below it: {room} may include {allowed} (src/{room}/CMakeLists.txt)",
                              "pass a value or a callback up from below, or move the code to the room that may know")
            elif quote == '"' and "/" not in name and not path.startswith("bench/"):
                yield Finding(path, line, f'includes "{name}" without its room', "a reader sees from an include where the name lives", f'write "room/{name}"')
            elif quote == "<" and room in CORE and not is_test(path) and (third := re.match(r"fmt/|CLI/|nlohmann/|openssl/|boost/|benchmark/", name)) and third[0] != PACKAGES.get(room):
                yield Finding(path, line, f"includes <{name}>", f"the library depends on nothing but the C and C++ libraries, and {third[0]} is a package",
                              "do it by hand here, or in the command line (src/cli)")


def include_order():
    """Own header, system, <gannet/...>, "room/...": each group behind a blank line."""
    for path in sources():
        if not path.startswith(("src/", "include/")):
            continue
        room, stem = room_of(path), path.split("/")[-1].removesuffix(".cc").removesuffix("_test")
        own = (f"{room}/{stem}.h", f"gannet/{stem}.h") if path.endswith(".cc") else ()
        last = 0
        for line, quote, name in cxx.includes(path):
            rank = 0 if name in own else 3 if quote == '"' else 2 if name.startswith("gannet/") else 1
            if rank < last:
                yield Finding(path, line, f"{name} is out of order", "one order everywhere lets the eye skip it, and an own header that comes first proves that it stands alone",
                              'order: own header, <system>, <gannet/...>, "room/..."')
                break
            last = max(last, rank)


# Sizes.

def size():
    for path in sources():
        lines = cxx.text(path).count("\n")
        limit = 300 if path.endswith(".h") else 600
        if lines > limit and not is_test(path):
            yield Finding(path, limit + 1, f"{lines} lines, {limit} allowed", "a file is one thought, read in one sitting", "split it where its subject splits")
        for function in cxx.scan(path)[0]:
            length = function.last - function.first + 1
            if length > 70:
                yield Finding(path, function.first, f"{function.name} has {length} lines, 70 allowed", "a function fits a screen", "give its steps names")
        if re.fullmatch(r"examples/(echo_(server|client)|(multicast|broadcast)_(sender|receiver))\.cc", path) and lines > 30:
            yield Finding(path, 31, f"{lines} lines, 30 allowed", "the front door is short", "let the library do it")


# What does not belong where it stands.

Token = namedtuple("Token", "pattern what")


def _search(rule, rooms, tokens, why, do, tests=True):
    for path in sources():
        if room_of(path) not in rooms or waived(rule, path) or (is_test(path) and not tests):
            continue
        for token in tokens:
            for match in re.finditer(token.pattern, cxx.code(path)):
                yield Finding(path, cxx.line_of(path, match.start()), f"{match[0].strip()}: {token.what}", why, do)


def clocks():
    yield from _search("clocks", PURE, [
        Token(r"\b\w*::now\s*\(", "reads a clock"),
        Token(r"\b(clock_gettime|gettimeofday|timerfd_\w+)\s*\(|(?<![\w.>])time\s*\(\s*(nullptr|NULL|0|&\w+)\s*\)", "reads a clock"),
    ], "only the engine reads a clock, so that a simulation of an hour runs in a second and the same seed gives the same run", "take the time as an argument (base/time.h)")
    yield from _search("clocks", PURE, [
        Token(r"((?<![\w.:>])(std::)?|(?<![\w>])::)s?rand\s*\(", "is random"),
        Token(r"\b(random_device|getrandom|arc4random\w*)\b", "is random"),
    ], "randomness is injected, so that a seed replays a run", "take an Rng or a seed as an argument")
    yield from _search("clocks", PURE, [
        Token(r"\b(sleep_for|sleep_until|usleep|nanosleep)\b|((?<![\w.:>])|(?<![\w>])::)sleep\s*\(", "waits"),
    ], "only the engine waits; a unit test moves time by hand", "advance the time that you pass in")


def globals_():
    yield from _search("globals", CORE, [Token(r"\b(secure_)?getenv\b", "reads the environment")], "what a call does is decided by its arguments",
                       "let the caller read it and pass it in", tests=False)
    for path in sources():
        if room_of(path) in CORE and not is_test(path) and not waived("globals", path):
            for line, text in cxx.mutable_globals(path):
                yield Finding(path, line, f"`{text}` can change and outlives the call", "two engines in one process must not meet in a variable", "make it a member, or const")


def threads():
    yield from _search("threads", PURE, [Token(r"\bstd::(atomic\w*|mutex|shared_mutex|thread|jthread|condition_variable|lock_guard|unique_lock|scoped_lock)\b", "is for threads")],
                       "an engine owns what it touches: no locks and no atomics but in ring, counter, mailbox and the application's side of endpoints",
                       "leave it to the engine's thread, or hand it over by a ring or the mailbox", tests=False)


def core():
    yield from _search("core", CORE, [
        Token(r"\b(throw|try|catch)\b(?!\w)", "is an exception"),
        Token(r"\bstd::(cout|cerr|clog|cin|ostream|istream|[io]?stringstream|format|print|println|regex)\b", "is not for the library"),
        Token(r"\bfmt::\w+", "is not for the library"),
    ], "a bad packet is a Drop, a failed call a Result, our bug an ASSERT; and the library stays small", "return a Drop or an Error; write text with base/log or std::to_chars", tests=False)
    for path in sources():
        if room_of(path) in CORE and not is_test(path) and not waived("core", path):
            for line, _, name in cxx.includes(path):
                if name in ("iostream", "sstream", "fstream", "format", "print", "regex", "iomanip"):
                    yield Finding(path, line, f"includes <{name}>", "the library prints nothing and parses by hand, and stays small", "leave it to the command line")


# Text.

def text():
    machine_path = re.compile(r"(?<![\w.])/(work|home/[a-z]\w*|root)/")
    unfinished = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    banner = re.compile(r"^\s*(//|#)\s*[-=*#/~]{4,}\s*$")
    for path in files():
        try:
            lines = (ROOT / path).read_text().splitlines()
        except UnicodeDecodeError:
            continue  # a capture, a picture
        for number, line in enumerate(lines, 1):
            if match := unfinished.search(line):
                yield Finding(path, number, match[0], "what is not finished is absent", "finish it, or take it out and file it")
            if (match := machine_path.search(line)) and not path.startswith("dev.d/"):
                yield Finding(path, number, f"names {match[0]}", "a path of one machine means nothing on another", "use a path inside the project")
            if re.search("[\U0001F300-\U0001FAFF\u2600-\u27BF]", line):
                yield Finding(path, number, "a pictograph", "prose here is plain", "say it in words")
            if path.endswith((".cc", ".h", ".py")) and banner.match(line):
                yield Finding(path, number, "a banner", "structure is shown by files and functions", "delete it, or say in a sentence what follows")
    for path in sources():
        if path.endswith(".h") and not (cxx.text(path).startswith("//") and "\n#pragma once\n" in cxx.text(path)):
            yield Finding(path, 1, "a header without its opening", "a reader learns first what it is for, who owns it and on which thread it runs", "open with that comment, then #pragma once")


def conformance():
    """Each row of docs/CONFORMANCE.md names files and tests that exist, or says that it is not yet done."""
    page = "docs/CONFORMANCE.md"
    if page not in files():
        return
    tests = {f"{suite}.{name}" for path in sources() if is_test(path)
             for suite, name in re.findall(r"^(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", cxx.text(path), re.MULTILINE)}
    tests |= {f"{suite.name}.{test.name}" for path in files() if re.fullmatch(r"tests/\w+/\w+\.py", path)
              for suite in ast.parse((ROOT / path).read_text()).body if isinstance(suite, ast.ClassDef)
              for test in suite.body if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")}
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if not (row := re.match(r"\|\s*([A-Z]+\d+\w*)\s*\|", line)):
            continue
        quoted = re.findall(r"`([^`]+)`", line)
        paths = [word for word in quoted if re.match(r"(src|include|tests|examples|demo)/", word)]
        named = [word for word in quoted if re.fullmatch(r"[A-Z]\w*\.([A-Z]|test_)\w*", word)]
        for path in paths:
            if not (ROOT / path.split(":")[0]).is_file():
                yield Finding(page, number, f"{row[1]} names {path}, which is not there", "a row points at what exists", "name the file that implements it now")
        for name in named:
            if name not in tests:
                yield Finding(page, number, f"{row[1]} names the test {name}, which is not there", "a row without a test is not done", "name the test that proves it")
        if not re.search(r"not yet", line) and not (paths and (named or any("_test.py" in path for path in paths))):
            yield Finding(page, number, f"{row[1]} names no file or no test", "a row without a test is not done", "name both (`src/...`, `Suite.Name`), or say: not yet")


# The command.

Rule = namedtuple("Rule", "what function")
RULES = {
    "format": Rule("sources are as clang-format leaves them", lambda: tidy.formatting(sources())),
    "layering": Rule("who may include whom", layering),
    "includes": Rule("the order of includes", include_order),
    "size": Rule("files, functions and front-door examples are short", size),
    "clocks": Rule("no clocks, randomness or sleep below the engine", clocks),
    "globals": Rule("no variable that outlives a call, no environment", globals_),
    "threads": Rule("no locks or atomics below the engine", threads),
    "core": Rule("no exceptions, streams or formatting in the library", core),
    "text": Rule("nothing unfinished, no machine's paths, headers open with their purpose", text),
    "conformance": Rule("each row names a file and a test that exist", conformance),
    "headers": Rule("each header compiles alone, the public ones as C++20", lambda: tidy.headers(sources())),
    "tidy": Rule("clang-tidy is content", lambda: tidy.tidy(sources())),
}


def command(names):
    if unknown := set(names) - set(RULES):
        raise Stop(f"no such rule: {' '.join(sorted(unknown))}. There are: {' '.join(RULES)}", USAGE)
    need("core", "check")
    broken = 0
    for name in names or RULES:
        start = time.monotonic()
        findings = list(RULES[name].function())
        explained = set()
        for finding in findings:
            reasons = tuple(part for part in (finding.why, finding.do) if part and (finding.why, finding.do) not in explained)
            explained.add((finding.why, finding.do))
            say(f"{finding.path}:{finding.line}: [{name}] {finding.what}." + "".join(f" {part[0].upper()}{part[1:]}." for part in reasons))
        say(f"check {name}: {'ok' if not findings else f'{len(findings)} findings'} ({seconds_since(start)}; {RULES[name].what})")
        broken += len(findings)
    say(f"dev: {'all rules hold' if broken == 0 else f'{broken} findings'}")
    return 1 if broken else 0
