"""`gannet run --via tap:...`: programs on a host of ours, whose wire ends at the kernel, in a network namespace that nobody else has."""
import os
import shutil
import socket
import subprocess
import tempfile
import threading

from gannet import PATIENCE, enter_namespace, events, for_any_user, run
from programs import PYTHON, Programs, echo_client, echo_server, main, result_of, under
from tap_test import make_tap

TAP = "tap:gannet1,10.7.0.2/24"


class Tap(Programs):
    via = TAP

    def test_a_client_of_ours_and_a_server_of_the_kernels(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("10.7.0.1", 0))
            server.settimeout(PATIENCE)

            def echo_one():
                data, peer = server.recvfrom(1024)
                self.assertEqual(peer[0], "10.7.0.2")
                server.sendto(data, peer)
            thread = threading.Thread(target=echo_one)
            thread.start()
            code, output, complaint = result_of(under(*echo_client("10.7.0.1", server.getsockname()[1]), via=self.via))
            thread.join()
        self.assertEqual((code, output), (0, "Hello, UDP server!\n"), complaint)
        self.assertEqual(self.carried(), (1, 1))

    def test_a_server_of_ours_and_a_client_of_the_kernels(self):
        server = self.start(*echo_server("0.0.0.0"))
        port = int(server.stdout.readline())
        self.assertEqual(result_of(echo_client("10.7.0.2", port))[:2], (0, "Hello, UDP server!\n"))
        self.assertEqual(result_of(under(*echo_client("10.7.0.2", port), via=self.via))[:2], (0, "Hello, UDP server!\n"))
        self.assertEqual(self.carried(), (3, 3))

    def test_it_answers_ping(self):
        if not shutil.which("ping"):
            self.skipTest("there is no ping(8) here")
        done = subprocess.run(["ping", "-n", "-c", "1", "-w", "10", "10.7.0.2"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        code, output, _ = run("stat", "--via", self.via, "--json")
        self.assertEqual(code, 0)
        self.assertIn(["10.7.0.2/24"], [link["addresses"] for link in events(output, "stat")[0]["links"]])

    def test_faults_as_anywhere(self):
        server = self.start(*echo_server("0.0.0.0"), flags=("--loss-in", "100%"))
        port = int(server.stdout.readline())
        self.assertNotEqual(result_of(echo_client("10.7.0.2", port, patience=0.5))[0], 0)
        self.assertEqual(self.carried(), (0, 1))

    def test_another_host_on_the_same_wire_is_refused(self):
        self.refuses(["run", "--via", "tap:gannet1,10.7.0.3/24", "--", "true"], 1, "cannot open tap:gannet1,10.7.0.3/24", "another program")


class Lost(Programs):
    via = "tap:gannet2,10.8.0.2/24"

    def test_a_deleted_interface_ends_the_hub(self):
        client = self.start(PYTHON, "-c", """
import errno, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.8.0.2", 0)); print("ready", flush=True)
try: s.recv(10)
except OSError as error: print(errno.errorcode[error.errno], flush=True)""")
        self.assertEqual(client.stdout.readline(), "ready\n")
        subprocess.run(["ip", "link", "delete", "gannet2"], check=True)
        self.assertEqual(client.stdout.readline(), "ENETDOWN\n")


class OrdinaryUser(Programs):
    def setUp(self):
        """No hub yet."""

    def test_is_told_what_to_do(self):
        if subprocess.run(["true"], user=65534, check=False).returncode != 0:
            self.skipTest("needs another user's id")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([for_any_user(folder), "run", "--via", "tap:gannet3,10.9.0.2/24", "--", "true"], user=65534, group=65534, extra_groups=[],
                                  env=dict(os.environ, XDG_RUNTIME_DIR=""), capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stdout), (4, ""))
        self.assertRegex(done.stderr, r"\Agannet: this user may not open the TAP device gannet3; allow it once with: .*sudo ip tuntap add dev gannet3.*\n\Z")


class Crowded(Programs):
    via = "kernel"

    @classmethod
    def setUpClass(cls):
        for number in range(70):
            subprocess.run(["ip", "link", "add", f"crowd{number}", "type", "bridge"], check=True)
        cls.addClassCleanup(lambda: [subprocess.run(["ip", "link", "delete", f"crowd{number}"], check=True) for number in range(70)])

    def test_a_guest_says_what_it_has_no_room_for(self):
        code, output, complaint = result_of(under("true", via="kernel"))
        self.assertEqual((code, output), (0, ""))
        self.assertRegex(complaint, r"\Agannet: not all of the kernel's network has room on this host: \d+ interfaces, 0 addresses and \d+ routes are left out")
        code, output, _ = run("stat", "--json")
        listing = events(output, "stat")[0]
        self.assertGreater(listing["omitted"]["interfaces"], 6)
        self.assertIn("not all of the kernel's network", run("stat")[1])


if __name__ == "__main__":
    enter_namespace()
    make_tap()
    main()
