"""./dev fuzz: builds the libFuzzer targets (tests/fuzz/*.cc) and runs them. What they learn stays in build/fuzz/corpus; seeds are tests/fuzz/seeds/TARGET."""
import build
from machine import BUILD, ROOT, USAGE, Stop, run, say


def targets():
    return sorted(path.stem for path in (ROOT / "tests/fuzz").glob("*.cc"))


def command(options):
    known = targets()
    if options.list:
        say("\n".join(known))
        return 0
    chosen = known if options.target == "all" else [options.target]
    if not known or not set(chosen) <= set(known):
        raise Stop(f"no such fuzz target: {options.target or '(none given)'}. There are: {' '.join(known)}; or `all`", USAGE)
    if options.seconds < 1:
        raise Stop("a fuzz target runs for at least 1 second", USAGE)

    build.build("fuzz", *(f"fuzz_{target}" for target in chosen))
    failed = [target for target in chosen if not fuzz(target, options.seconds)]
    say("dev: " + (f"found something: {' '.join(failed)}" if failed else f"clean: {' '.join(chosen)}, {options.seconds} s each"))
    return 1 if failed else 0


def fuzz(target, seconds):
    corpus, crashes = BUILD / "fuzz/corpus" / target, BUILD / "fuzz/crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    seeds = ROOT / "tests/fuzz/seeds" / target
    program = BUILD / "fuzz/fuzz" / f"fuzz_{target}"
    say(f"dev: fuzzing {target} for {seconds} s")
    if run([program, f"-max_total_time={seconds}", f"-artifact_prefix={crashes}/{target}-", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
            corpus, *([seeds] if seeds.is_dir() else [])]) == 0:
        return True
    say(f"dev: {target} failed; the input is named above, in build/fuzz/crashes. Again with it alone: build/fuzz/fuzz/fuzz_{target} FILE")
    return False
