"""./dev build: configures and builds one CMake preset. The other commands build through here too."""
import time

from machine import BUILD, Stop, need, output_of, run, say, jobs, seconds_since

PRESETS = {
    "dev": "AddressSanitizer and UndefinedBehaviorSanitizer, what the tests run on",
    "release": "build/release/gannet and the libraries beside it",
    "tsan": "ThreadSanitizer",
    "fuzz": "libFuzzer targets, under clang++-19",
}
NEEDS = {"dev": ["core", "cli", "test"], "release": ["core", "cli"], "tsan": ["core", "cli", "test"], "fuzz": ["core", "fuzz"]}


def configure(preset, where=None, *more):
    need(*NEEDS[preset])
    configured = output_of(["cmake", "--preset", preset, "-B", where or BUILD / preset, *more])
    if configured.returncode != 0:
        raise Stop(f"cmake could not configure the preset {preset}:\n{configured.stdout}{configured.stderr}")
    for line in configured.stdout.splitlines():
        if line.startswith("-- Gannet:"):
            say("dev:" + line.removeprefix("-- Gannet:"))


def build(preset, *targets):
    start = time.monotonic()
    configure(preset)
    if run(["cmake", "--build", BUILD / preset, "-j", jobs(), *(["--target", *targets] if targets else [])]) != 0:
        raise Stop(f"the build of the preset {preset} failed; the compiler says why above")
    say(f"dev: built {preset} in {seconds_since(start)}")
