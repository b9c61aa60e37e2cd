#!/usr/bin/python3
"""What DTLS costs, in memory, beside `openssl speed` in the same run: records sealed and opened, handshakes, and memory for each peer.

`openssl speed -aead` seals (or with -decrypt opens) without records, sequence numbers, buffers or peers: the bound. Runs of the two alternate; the medians stand.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

CIPHERS = {"aes-128-gcm": "ECDHE-ECDSA-AES128-GCM-SHA256", "aes-256-gcm": "ECDHE-ECDSA-AES256-GCM-SHA384", "chacha20-poly1305": "ECDHE-ECDSA-CHACHA20-POLY1305"}
SIZES = (64, 1200, 16_000)


def ours(program, *arguments):
    return json.loads(subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True).stdout)


def openssl_ns(cipher, size, seconds, opening):
    """Nanoseconds for one record's worth."""
    command = ["openssl", "speed", "-aead", *(["-decrypt"] if opening else []), "-evp", cipher, "-bytes", str(size), "-seconds", str(seconds)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    thousands = float(re.search(r"([\d.]+)k\s*$", said.strip())[1])
    return size / thousands * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"), help="where the release build is")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn (3)")
    parser.add_argument("--peers", type=int, default=10_000, help="of the server whose memory is measured (10000)")
    parser.add_argument("--json", action="store_true", help="print JSON, one object")
    options = parser.parse_args()
    program = options.build / "bench" / "dtls"
    if not program.exists():
        print(f"bench: no bench/dtls under {options.build}: build it with ./dev build release (it needs OpenSSL 3: libssl-dev)", file=sys.stderr)
        return 1
    rows = []
    for cipher, suite in CIPHERS.items():
        for size in SIZES:
            print(f"{cipher}, {size} bytes ...", file=sys.stderr)
            runs = [(ours(program, "seal", suite, size, 1), openssl_ns(cipher, size, 1, False), openssl_ns(cipher, size, 1, True)) for _ in range(options.rounds)]
            seal, opened = (statistics.median(run[0][key] for run in runs) for key in ("seal_ns", "open_ns"))
            bound_seal, bound_open = (statistics.median(run[i] for run in runs) for i in (1, 2))
            rows.append({"cipher": cipher, "size": size, "seal_ns": round(seal), "openssl_seal_ns": round(bound_seal), "seal_rate": round(bound_seal / seal, 2),
                         "open_ns": round(opened), "openssl_open_ns": round(bound_open), "open_rate": round(bound_open / opened, 2),
                         "lost": sum(run[0]["lost"] for run in runs)})
    shakes = statistics.median(ours(program, "shake", 2)["handshakes_per_second"] for _ in range(options.rounds))
    peers = ours(program, "peers", options.peers)
    if options.json:
        json.dump({"records": rows, "handshakes_per_second": shakes, **peers}, sys.stdout, indent=2)
        print()
        return 0
    print(f"{'cipher':<20}{'bytes':>6}{'seal ns':>9}{'openssl':>9}{'rate':>6}{'open ns':>9}{'openssl':>9}{'rate':>6}{'lost':>6}")
    for row in rows:
        print(f"{row['cipher']:<20}{row['size']:>6}{row['seal_ns']:>9}{row['openssl_seal_ns']:>9}{row['seal_rate']:>6.2f}{row['open_ns']:>9}{row['openssl_open_ns']:>9}"
              f"{row['open_rate']:>6.2f}{row['lost']:>6}")
    print(f"{shakes:.0f} handshakes a second, both sides in one thread; {peers['peers']} peers: {peers['bytes_per_peer']} bytes each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
