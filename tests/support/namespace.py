"""A network namespace of its own for a test written in Python, and how such a test says that it cannot run here."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

SKIPPED = 77


def skip(reason):
    print(reason)
    sys.exit(SKIPPED)


def enter_namespace():
    """Starts this program again in a network namespace of its own, or skips the test where none is to be had."""
    if os.environ.get("GANNET_NAMESPACE") == "inside":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    for program in ("unshare", "ip"):
        if not shutil.which(program):
            skip(f"there is no {program}(1) here")
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        skip(f"no network namespace: {probe.stderr.strip()}")
    os.execvpe(unshare[0], [*unshare, sys.executable, "-B", *sys.argv], dict(os.environ, GANNET_NAMESPACE="inside"))


def without_ipv6():
    """Spares the interfaces to come the chatter of the kernel's IPv6."""
    try:
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1", encoding="ascii")
    except OSError:
        pass  # then there is some
