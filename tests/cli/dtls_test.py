"""Sealed datagrams: gannet with itself, and with the tools of OpenSSL and GnuTLS at either end, also where the network loses a fifth of them."""
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import programs
from gannet import PATIENCE, Command, Running, events, run
from programs import under

LOCALHOST = "127.0.0.1"
KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
LOSS = ["--loss", "20%", "--seed", "3"]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Tool:
    """Somebody else's program, which is fed and listened to."""

    def __init__(self, *command, loss=False):
        command = [*map(str, command)]
        self.process = subprocess.Popen(under(*command, via="kernel", flags=LOSS) if loss else command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.said = b""
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            with self.changed:
                self.said += chunk
                self.changed.notify_all()

    def tell(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait_for(self, pattern):
        with self.changed:
            if not self.changed.wait_for(lambda: re.search(pattern.encode(), self.said), 2 * PATIENCE):
                raise AssertionError(f"nothing like {pattern} in {self.said.decode(errors='replace')}")

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()


class Dtls(Command):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        if shutil.which("openssl"):
            cls.make_certificates()

    @classmethod
    def make_certificates(cls):
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *ec, "-keyout", cls.folder / "ca.key", "-out", cls.folder / "ca.pem", "-subj", "/CN=authority", "-days", 2)
        for name in "server", "client":
            openssl("req", *ec, "-keyout", cls.folder / f"{name}.key", "-out", cls.folder / f"{name}.csr", "-subj", f"/CN={name}.test")
            (cls.folder / "extensions").write_text(f"subjectAltName=DNS:{name}.test\n")
            openssl("x509", "-req", "-in", cls.folder / f"{name}.csr", "-CA", cls.folder / "ca.pem", "-CAkey", cls.folder / "ca.key", "-CAcreateserial",
                    "-out", cls.folder / f"{name}.pem", "-days", 2, "-extfile", cls.folder / "extensions")

    def setUp(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((LOCALHOST, 0))
            self.port = probe.getsockname()[1]

    def need(self, *names):
        for name in names:
            if not shutil.which(name):
                self.skipTest(f"{name} is not installed")

    def certificate(self, name):
        return ["--cert", self.folder / f"{name}.pem", "--key", self.folder / f"{name}.key"]

    def echo(self, *flags):
        running = Running("echo", "--dtls", *flags, LOCALHOST, self.port)
        self.addCleanup(lambda: running.process.poll() is None and running.end())
        return running

    def tool(self, *command, loss=False):
        tool = Tool(*command, loss=loss)
        self.addCleanup(tool.end)
        return tool

    def until_bound(self):
        """Until somebody has the port."""
        end = time.monotonic() + PATIENCE
        while not any(f":{self.port:04X} " in Path(f"/proc/net/{table}").read_text() for table in ("udp", "udp6")):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def send(self, *flags, texts=("one", "two")):
        data = [word for text in texts for word in ("--data", text)]
        return run("send", "--dtls", *flags, "-w", "20s", *data, LOCALHOST, self.port)

    def echoes(self, *flags):
        code, said, complaint = self.send(*flags)
        self.assertEqual((code, said), (0, "one\ntwo\n"), complaint)


class WithItself(Dtls):
    def test_by_fingerprint(self):
        echo = self.echo()
        fingerprint = next(each["sha256"] for each in echo.seen if each["event"] == "fingerprint")
        self.echoes("--fingerprint", fingerprint)
        self.echoes("--trust-anyone")
        wrong = fingerprint.replace(fingerprint[:2], "00" if fingerprint[:2] != "00" else "01")
        code, said, complaint = self.send("--fingerprint", wrong)
        self.assertEqual((code, said), (1, ""))
        self.assertRegex(complaint, r"\Agannet: cannot shake hands with 127.0.0.1:\d+: its certificate is none that was to be trusted[^\n]*\n\Z")
        code, seen = echo.end()
        kinds = [each["kind"] for each in seen if each["event"] == "association"]
        self.assertEqual(kinds, ["connected", "closed", "connected", "closed", "failed"])
        self.assertEqual(code, 0)

    def test_by_shared_key(self):
        self.echo("--psk", f"robot:{KEY}")
        self.echoes("--psk", f"robot:{KEY}")
        (self.folder / "hex").write_text(KEY + "\n")
        self.echoes("--psk", f"robot:@{self.folder / 'hex'}")
        code, _, complaint = run("send", "--dtls", "--psk", f"cat:{KEY}", "-w", "2s", "--data", "x", LOCALHOST, self.port)
        self.assertEqual(code, 1, complaint)

    def test_by_authority_both_ways(self):
        self.need("openssl")
        self.echo(*self.certificate("server"), "--ca", self.folder / "ca.pem")
        self.echoes(*self.certificate("client"), "--ca", self.folder / "ca.pem", "--server-name", "server.test")
        code, _, complaint = self.send(*self.certificate("client"), "--ca", self.folder / "ca.pem", "--server-name", "other.test")
        self.assertEqual(code, 1)
        self.assertIn("for another name", complaint)
        code, _, complaint = self.send("--ca", self.folder / "ca.pem", "--server-name", "server.test")
        self.assertEqual(code, 1, "without a certificate of its own")

    def test_ipv6(self):
        running = Running("echo", "--dtls", "::1", self.port)
        self.addCleanup(running.end)
        self.assertEqual(run("send", "--dtls", "--trust-anyone", "--data", "six", "-w", "20s", "::1", self.port)[:2], (0, "six\n"))

    def test_listen_is_a_talk(self):
        listen = Running("listen", "--dtls", "--psk", f"k:{KEY}", LOCALHOST, self.port)
        self.addCleanup(lambda: listen.process.poll() is None and listen.end())
        sender = subprocess.Popen([programs.GANNET, "send", "--dtls", "--psk", f"k:{KEY}", "-w", "20s", LOCALHOST, str(self.port)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (sender.kill(), sender.communicate()))
        sender.stdin.write("hello\n")
        sender.stdin.flush()
        self.assertEqual(listen.wait_for("received")["text"], "hello")
        listen.process.stdin.write("good day\n")
        listen.process.stdin.flush()
        self.assertEqual(sender.stdout.readline(), "good day\n")

    def test_many_at_once(self):
        """More than are taken in one turn, and the sender is gone before they are."""
        listen = Running("listen", "-k", "--dtls", "--psk", f"k:{KEY}", "-I", "4M", LOCALHOST, self.port)
        self.addCleanup(lambda: listen.process.poll() is None and listen.end())
        code, _, complaint = run("send", "--dtls", "--psk", f"k:{KEY}", "-w", 0, "--size", 50, "-n", 3000, LOCALHOST, self.port)
        self.assertEqual(code, 0, complaint)
        code, seen = listen.end()
        self.assertEqual(code, 0)
        self.assertGreater(seen[-1]["datagrams_in"], 500)

    def test_what_contradicts_itself(self):
        for words, flags in (("whom to believe", ["--dtls"]), ("--dtls", ["--psk", f"a:{KEY}"]), ("16 to 64 bytes", ["--dtls", "--psk", "a:00"]),
                             ("hexadecimal", ["--dtls", "--psk", "a:xyz"]), ("NAME:HEX", ["--dtls", "--psk", KEY]),
                             ("go together", ["--dtls", "--cert", "x", "--trust-anyone"]), ("64 hexadecimal digits", ["--dtls", "--fingerprint", "12"]),
                             ("between two", ["--dtls", "--trust-anyone", "-b"])):
            self.refuses(["send", *flags, "--data", "x", LOCALHOST, self.port], 2, words)
        self.refuses(["send", "--dtls", "--trust-anyone", "--server-name", "x", "--data", "x", LOCALHOST, self.port], 2, "--ca FILE")
        self.refuses(["send", "--dtls", "--ca", "/nowhere.pem", "--data", "x", LOCALHOST, self.port], 1, "/nowhere.pem: No such file")
        self.refuses(["send", "--dtls", "--ca", "README.md", "--data", "x", LOCALHOST, self.port], 1, "README.md", "no certificates in PEM")
        self.refuses(["echo", "--dtls", "--cert", "README.md", "--key", "README.md", LOCALHOST, self.port], 1, "no certificate in PEM")
        self.refuses(["send", "--dtls", "--trust-anyone", "--dtls-mtu", 100, "--data", "x", LOCALHOST, self.port], 1, "320 to 65535")
        self.refuses(["send", "--dtls", "--trust-anyone", "--data", "x", LOCALHOST, self.port], 1, "nobody listens there")
        self.echo()
        self.refuses(["send", "--dtls", "--trust-anyone", "--size", 1300, LOCALHOST, self.port], 1, "headers and seal leave 1215")

    def test_the_key_log_opens_it(self):
        self.need("tshark")
        log = self.folder / "keys"
        self.echo()
        self.echoes("--trust-anyone", "--key-log", log)
        self.assertRegex(log.read_text(), r"\ACLIENT_RANDOM [0-9a-f]{64} [0-9a-f]{96}\n\Z")
        self.assertEqual(log.stat().st_mode & 0o777, 0o600)


class Hostile(Dtls):
    def test_a_flood_of_lies_and_an_honest_peer(self):
        """100,000 ClientHellos, each of another random, and as much rubbish: none is remembered, and who is honest is served meanwhile."""
        self.need("openssl")
        echo = self.echo()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as watcher:
            watcher.bind((LOCALHOST, 0))
            client = self.tool("openssl", "s_client", "-dtls1_2", "-connect", f"{LOCALHOST}:{watcher.getsockname()[1]}")
            hello, _ = watcher.recvfrom(2000)
            client.end()
        before = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{echo.process.pid}/status").read_text())[1])
        stop = threading.Event()

        def flood():
            chance = random.Random(6347)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
                for i in range(100_000):
                    lie = bytearray(hello)
                    lie[27:59] = chance.randbytes(32)
                    if i % 3 == 0:
                        lie[chance.randrange(len(lie))] ^= 1 << chance.randrange(8)
                    if i % 5 == 0:
                        del lie[chance.randrange(len(lie)):]
                    liar.sendto(bytes(lie), (LOCALHOST, self.port))
                    if stop.is_set():
                        return

        liar = threading.Thread(target=flood)
        liar.start()
        self.addCleanup(liar.join)
        self.addCleanup(stop.set)
        code, said, complaint = run("send", "--dtls", "--trust-anyone", "--ping", "-n", 100, "--interval", "10ms", "-w", "20s", LOCALHOST, self.port)
        self.assertEqual(code, 0, complaint)  # some are lost, where the kernel's buffer is full of lies
        self.assertGreater(said.count("number"), 5)
        liar.join(3 * PATIENCE)
        self.echoes("--trust-anyone")
        after = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{echo.process.pid}/status").read_text())[1])
        self.assertLess(after - before, 30_000, "kilobytes; sanitizers keep what is freed")
        code, seen = echo.end()
        self.assertEqual(code, 0)
        self.assertGreater(sum(count for name, count in seen[-1]["drops"].items() if name.startswith("dtls_")), 500)


class WithOpenssl(Dtls):
    def setUp(self):
        super().setUp()
        self.need("openssl")

    def client(self, *flags, loss=False):
        client = self.tool("openssl", "s_client", "-dtls1_2", "-timeout", "-mtu", 1252, "-connect", f"{LOCALHOST}:{self.port}", *flags, loss=loss)
        client.wait_for("Verify return code")
        for i in range(20):
            client.tell(f"text {i}\n")
            time.sleep(0.01)
        client.wait_for("text 1[0-9]" if loss else "text 19")

    def server(self, *flags, ours=(), loss=False):
        server = self.tool("openssl", "s_server", "-dtls1_2", "-timeout", "-mtu", 1252, "-port", self.port, *flags, loss=loss)
        server.wait_for("ACCEPT")
        self.until_bound()
        code, _, complaint = run("send", "--dtls", *ours, "-w", 0, "-n", 50, "--interval", "5ms", "--size", 100, LOCALHOST, self.port, timeout=3 * PATIENCE)
        self.assertEqual(code, 0, complaint)
        server.wait_for("4[0-9] d")

    def test_its_client_and_our_certificate(self):
        self.echo(*self.certificate("server"))
        self.client("-CAfile", self.folder / "ca.pem", "-verify_return_error")

    def test_its_client_shows_a_certificate(self):
        echo = self.echo(*self.certificate("server"), "--ca", self.folder / "ca.pem")
        self.client("-CAfile", self.folder / "ca.pem", "-cert", self.folder / "client.pem", "-key", self.folder / "client.key")
        self.assertEqual(echo.wait_for("association")["identity"], "client.test")

    def test_its_client_and_a_shared_key(self):
        self.echo("--psk", f"robot:{KEY}")
        self.client("-psk_identity", "robot", "-psk", KEY, "-cipher", "PSK")

    def test_its_client_through_loss(self):
        self.echo(*self.certificate("server"))
        self.client("-CAfile", self.folder / "ca.pem", loss=True)

    def test_its_server(self):
        self.server("-cert", self.folder / "server.pem", "-key", self.folder / "server.key", ours=["--ca", self.folder / "ca.pem", "--server-name", "server.test"])

    def test_its_server_and_a_shared_key(self):
        self.server("-nocert", "-psk_identity", "robot", "-psk", KEY, ours=["--psk", f"robot:{KEY}"])

    def test_its_server_through_loss(self):
        self.server("-cert", self.folder / "server.pem", "-key", self.folder / "server.key", ours=["--ca", self.folder / "ca.pem"], loss=True)


class WithGnutls(Dtls):
    PRIORITY = "NORMAL:-VERS-ALL:+VERS-DTLS1.2"

    def setUp(self):
        super().setUp()
        self.need("gnutls-cli", "gnutls-serv", "openssl")
        (self.folder / "passwords").write_text(f"robot:{KEY}\n")

    def client(self, *flags, loss=False):
        client = self.tool("gnutls-cli", "--udp", "--mtu", 1252, "--port", self.port, *flags, LOCALHOST, loss=loss)
        client.wait_for("Simple Client Mode")
        for i in range(20):
            client.tell(f"text {i}\n")
            time.sleep(0.01)
        client.wait_for("text 1[0-9]" if loss else "text 19")

    def server(self, *flags, ours=(), loss=False):
        self.tool("gnutls-serv", "--udp", "--echo", "--mtu", 1252, "--port", self.port, *flags, loss=loss)
        self.until_bound()
        code, said, complaint = run("send", "--dtls", *ours, "-w", "3s" if loss else "20s", "--data", "one", "--data", "two", "--data", "three", "-n", 30 if loss else 3,
                                    "--interval", "5ms", LOCALHOST, self.port, timeout=3 * PATIENCE)
        self.assertEqual(code, 0, complaint)
        self.assertIn("two", said)

    def test_its_client_and_our_certificate(self):
        self.echo(*self.certificate("server"))
        self.client("--priority", self.PRIORITY, "--x509cafile", self.folder / "ca.pem", "--verify-hostname", "server.test")

    def test_its_client_and_a_shared_key(self):
        self.echo("--psk", f"robot:{KEY}")
        self.client("--priority", self.PRIORITY + ":-KX-ALL:+PSK", "--pskusername", "robot", "--pskkey", KEY)

    def test_its_client_through_loss(self):
        self.echo(*self.certificate("server"))
        self.client("--priority", self.PRIORITY, "--insecure", loss=True)

    def test_its_server(self):
        self.server("--x509certfile", self.folder / "server.pem", "--x509keyfile", self.folder / "server.key", "--disable-client-cert",
                    ours=["--ca", self.folder / "ca.pem"])

    def test_its_server_and_a_shared_key(self):
        self.server("--priority", self.PRIORITY + ":+PSK:+ECDHE-PSK", "--pskpasswd", self.folder / "passwords", ours=["--psk", f"robot:{KEY}"])

    def test_its_server_through_loss(self):
        self.server("--x509certfile", self.folder / "server.pem", "--x509keyfile", self.folder / "server.key", "--disable-client-cert",
                    ours=["--trust-anyone"], loss=True)


programs.main()
