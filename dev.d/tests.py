"""./dev test: builds with sanitizers, runs everything through CTest, and counts each test once: passed, failed, or skipped with its reason.

A GoogleTest program is one entry of CTest; the results of its tests come from the XML that it writes. One that crashed wrote none, and counts as one
failed test. A Python test is an entry of its own; it is skipped when it ends with 77, for the reason in its last line.
"""
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import Counter

import build
from machine import BUILD, Stop, jobs, need, output_of, run, say


def command(preset, regex):
    need("netns")
    build.build(preset)
    where = BUILD / preset
    results = where / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()

    arguments = ["ctest", "--test-dir", where, "-j", jobs(), "--no-tests=error", "--test-output-size-failed", 10_000_000, "--output-junit",
                 results / "ctest.junit"]
    environment = dict(os.environ, GTEST_OUTPUT=f"xml:{results}/", GTEST_BRIEF="0", GTEST_COLOR="no")
    if regex:
        entries, tests = select(where, regex)
        if not entries:
            raise Stop(f"no test's name matches {regex!r}; names look like wire_test.Udp.ParsesWhatItEmits")
        arguments += ["-R", f"^({'|'.join(map(re.escape, entries))})$"]
        if tests:
            environment["GTEST_FILTER"] = ":".join(tests)
    run(arguments, env=environment, stderr=subprocess.DEVNULL)
    passed, failed, skipped = collect(results)
    return report(passed, failed, skipped)


def select(where, regex):
    """The CTest entries and the GoogleTest names that match, the latter written as program.Suite.Test."""
    matches = re.compile(regex).search
    entries, tests = [], []
    for entry in json.loads(output_of(["ctest", "--test-dir", where, "--show-only=json-v1"]).stdout)["tests"]:
        name, program = entry["name"], entry.get("command", [""])
        if len(program) > 1:
            entries += [name] if matches(name) else []
            continue
        suite, found = "", []
        for line in output_of([program[0], "--gtest_list_tests"]).stdout.splitlines():
            word = line.split("#")[0].strip()
            if not line.startswith(" "):
                suite = word
            elif matches(f"{name}.{suite}{word}"):
                found.append(suite + word)
        entries += [name] if found else []
        tests += found
    return entries, tests


def collect(results):
    """(number passed, names failed, (name, reason) skipped)."""
    passed, failed, skipped = 0, [], []
    if not (results / "ctest.junit").exists():
        raise Stop("CTest wrote no results; it says why above")
    for entry in ElementTree.parse(results / "ctest.junit").getroot().iter("testcase"):
        name, status = entry.get("name"), entry.get("status")
        xml = results / f"{name}.xml"
        before = len(failed)
        if xml.exists():
            for case in ElementTree.parse(xml).getroot().iter("testcase"):
                full = f"{name}.{case.get('classname')}.{case.get('name')}"
                if case.find("failure") is not None:
                    failed.append(full)
                elif case.get("status") == "notrun":
                    if "DISABLED_" in full:
                        skipped.append((full, "disabled in the source"))
                elif case.get("result") == "skipped":
                    skipped.append((full, reason(case.find("skipped"))))
                else:
                    passed += 1
        elif status == "run":
            passed += 1
        elif status in ("notrun", "disabled") and (last := last_line(entry)):
            skipped.append((name, last))
            continue
        if status == "run":
            continue
        say(f"\n{name}:\n{interesting(entry.findtext('system-out') or '')}")
        if len(failed) == before:
            failed.append(f"{name} ({how_it_ended(entry.findtext('system-out') or '')}: see its output above)")
    return passed, failed, skipped


def how_it_ended(output):
    running = re.findall(r"^\[ RUN      \] (\S+)\n(?!(?:.*\n)*\[ +(?:OK|SKIPPED|FAILED) +\] \1 \()", output, re.MULTILINE)
    return f"it crashed or hung in {running[-1]}" if running else "it could not start, hung, or a sanitizer spoke at its end"


def interesting(output):
    """What a program printed, without the tests that passed or were skipped."""
    output = re.sub(r"^\[ RUN      \] (\S+)\n(?:(?!\[ RUN).*\n)*?\[ +(OK|SKIPPED) +\] \1.*\n", "", output, flags=re.MULTILINE)
    return re.sub(r"^(Running main.*|\[[-=]{10}\].*|\[  (PASSED|SKIPPED) +\].*|)\n", "", output, flags=re.MULTILINE).rstrip()


def reason(element):
    text = (element.get("message") or element.text or "") if element is not None else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"\S+\.(cc|h):\d+$", line)]
    return " ".join(lines) or "no reason given"


def last_line(entry):
    lines = (entry.findtext("system-out") or "").strip().splitlines()
    return lines[-1].strip() if lines else ""


def report(passed, failed, skipped):
    say()
    for why, count in Counter(why for _, why in skipped).most_common():
        say(f"skipped: {why}")
        names = [name for name, its in skipped if its == why]
        say("".join(f"    {name}\n" for name in names[:8]) + (f"    and {count - 8} more\n" if count > 8 else ""))
    for name in failed:
        say(f"FAILED: {name}")
    say(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or passed == 0 else 0
