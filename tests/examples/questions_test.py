"""Questions and files: the examples with somebody else's program at the other end, over the kernel's sockets and under `gannet run` with loss."""
import filecmp
import os
import random
import shutil
import socket
import subprocess
from pathlib import Path

from uses import LOCALHOST, PATIENCE, Uses, example, free_port, main, result_of, under


class Tftp(Uses):
    LOSS = ["--loss", "10%", "--seed", "7"]

    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.served = self.folder / "served"
        self.served.mkdir()
        self.folder.chmod(0o755)
        self.served.chmod(0o777)
        self.sizes = {"empty": 0, "block": 512, "blocks": 2 * 1428, "odd": 5_001}
        for name, size in self.sizes.items():
            for place in self.served / name, self.folder / f"{name}.put":
                place.write_bytes(random.Random(name).randbytes(size))
                place.chmod(0o666)

    def serve(self, *how, inside=None):
        server = self.start(*how, inside=inside)
        if how[0].name == "tftp":
            self.assertIn("Listening", server.stdout.readline())

    def same(self, name, copy):
        self.assertTrue(filecmp.cmp(self.folder / f"{name}.put", copy, shallow=False), name)

    def ours_and(self, server, inside=None):
        self.serve(*server)
        self.until_it_works(example("tftp"), "get", f"{LOCALHOST}:{self.port}", "empty", "copy")
        for name in self.sizes:
            self.assertEqual(self.run_one(example("tftp", inside), "get", f"{LOCALHOST}:{self.port}", name, "copy", inside=inside), (0, "", ""))
            self.same(name, self.folder / "copy")
            self.assertEqual(self.run_one(example("tftp", inside), "put", f"{LOCALHOST}:{self.port}", f"{name}.put", f"new {name}", inside=inside), (0, "", ""))
            self.same(name, self.served / f"new {name}")

    def atftpd(self):
        self.need("atftpd")
        return [Path(shutil.which("atftpd")), "--daemon", "--no-fork", "--port", self.port, "--bind-address", LOCALHOST, "--user", "nobody.nogroup", self.served]

    def own_server(self, inside=None):
        return [example("tftp", inside), "serve", f"{LOCALHOST}:{self.port}", self.served]

    def test_with_atftpd(self):
        self.ours_and(self.atftpd())

    def test_with_atftpd_and_loss(self):
        self.ours_and(self.atftpd(), inside=self.LOSS)

    def atftp_and_ours(self, inside=None):
        self.need("atftp")
        self.serve(*self.own_server(inside), inside=inside)
        # An OACK that comes twice, since its acknowledgement was lost, makes atftp give up: no options with loss. And after some ten timeouts, however
        # far apart, it gives up too: no long files.
        for options in [["--tftp-timeout", "1"]] if inside else ([], ["--option", "blksize 1428"], ["--option", "blksize 8", "--option", "timeout 1"]):
            for name in self.sizes:
                with self.subTest(options=options, name=name):
                    for path in self.folder / "copy", self.served / "new":
                        path.unlink(missing_ok=True)
                    code, _, said = self.run_one("atftp", *options, "-g", "-r", name, "-l", "copy", LOCALHOST, self.port)
                    self.assertEqual(code, 0, said)
                    self.same(name, self.folder / "copy")
                    code, _, said = self.run_one("atftp", *options, "-p", "-l", f"{name}.put", "-r", "new", LOCALHOST, self.port)
                    self.assertEqual(code, 0, said)
                    self.same(name, self.served / "new")

    def test_with_atftp(self):
        self.atftp_and_ours()

    def test_with_atftp_and_loss(self):
        self.atftp_and_ours(inside=self.LOSS)

    def test_names_that_lead_out_of_the_folder(self):
        self.serve(*self.own_server())
        (self.folder / "secret").write_text("secret")
        (self.served / "link").symlink_to("../secret")
        for name in "../secret", "../../etc/passwd", "link", "sub/../../secret", ".", "/":
            code, _, said = self.run_one(example("tftp"), "get", f"{LOCALHOST}:{self.port}", name, "stolen")
            self.assertEqual((code, said.count("\n")), (1, 1), said)
            self.run_one(example("tftp"), "put", f"{LOCALHOST}:{self.port}", "odd.put", name)
        self.assertFalse((self.folder / "stolen").exists())
        self.assertEqual((self.folder / "secret").read_text(), "secret")

    def test_what_is_no_request(self):
        self.serve(*self.own_server())
        chance = random.Random(1350)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
            hostile.connect((LOCALHOST, self.port))
            for kind in b"", b"\0", b"\0\1", b"\0\1x\0", b"\0\1x\0octet", b"\0\2x\0netascii\0", b"\0\3\0\1", b"\0\1" + b"x" * 1400, b"\0\1\0\0\0":
                hostile.send(kind)
            for _ in range(200):
                hostile.send(bytes([0, chance.randrange(8)]) + chance.randbytes(chance.randrange(600)))
        self.assertEqual(self.run_one(example("tftp"), "get", f"{LOCALHOST}:{self.port}", "odd", "copy"), (0, "", ""))
        self.assertEqual(sorted(os.listdir(self.served)), sorted(self.sizes))


class Dns(Uses):
    RECORDS = ["--host-record=gannet.test,192.0.2.53,2001:db8::53", "--txt-record=gannet.test,one,two words", "--address=/nosuch.test/"]

    def setUp(self):
        super().setUp()
        self.need("dnsmasq")
        self.port = free_port()

    def ask(self, *words, inside=None):
        return self.run_one(example("dns_query", inside), f"{LOCALHOST}:{self.port}", *words, inside=inside)

    def answers(self, inside=None):
        self.start("dnsmasq", "-k", "-p", self.port, "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--user=", "--group=",
                   "--bind-interfaces", f"--listen-address={LOCALHOST}", *self.RECORDS)
        self.until_it_works(example("dns_query"), f"{LOCALHOST}:{self.port}", "gannet.test")
        for kind, value in ("A", "192.0.2.53"), ("AAAA", "2001:db8::53"), ("TXT", '"one" "two words"'):
            code, said, complaint = self.ask("gannet.test", kind, inside=inside)
            self.assertEqual((code, said), (0, f"gannet.test 0 {kind} {value}\n"), complaint)
        code, said, complaint = self.ask("nosuch.test", inside=inside)
        self.assertEqual((code, said), (1, ""))
        self.assertIn("there is no such name", complaint)

    def test_with_dnsmasq(self):
        self.answers()

    def test_with_dnsmasq_and_loss(self):
        self.answers(inside=["--loss", "30%", "--seed", "3"])

    def test_nobody_there(self):
        code, _, complaint = self.ask("gannet.test")
        self.assertEqual(code, 1)
        self.assertIn("refused", complaint)

    def test_silence_and_forgeries(self):
        """A server that says everything but the answer: each is ignored, and the true answer, which comes last, is taken."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            server.bind((LOCALHOST, self.port))
            server.settimeout(PATIENCE)
            asking = subprocess.Popen([example("dns_query"), f"{LOCALHOST}:{self.port}", "a.test"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(lambda: (asking.kill(), asking.communicate()))
            first, _ = server.recvfrom(2000)
            query, peer = server.recvfrom(2000)
            self.assertEqual(first, query, "asked again, after a silence")
            question = query[12:query.index(b"\0", 12) + 5]
            answer = b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 1])
            stranger.sendto(query[:2] + answer[:-1] + b"\2", peer)
            server.sendto(bytes([query[0] ^ 1, query[1]]) + answer[:-1] + b"\3", peer)
            server.sendto(query, peer)
            server.sendto(query[:2] + answer.replace(b"\1a\4test", b"\1b\4test"), peer)
            server.sendto(b"x", peer)
            server.sendto(query[:2] + answer, peer)
            said, complaint = asking.communicate(timeout=PATIENCE)
            self.assertEqual(said, "a.test 60 A 192.0.2.1\n")
            self.assertIn("asking again", complaint)

    def test_answers_that_lie_about_their_length(self):
        for tail in b"", b"\xc0", b"\xc0\x0c\0\1\0\1\0\0\0\x3c\xff\xff\1", b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\3\1\2\3", b"\x3f" * 40:
            with self.subTest(tail=tail), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind((LOCALHOST, 0))
                server.settimeout(PATIENCE)
                asking = subprocess.Popen([example("dns_query"), f"{LOCALHOST}:{server.getsockname()[1]}", "a.test"], stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE, text=True)
                query, peer = server.recvfrom(2000)
                server.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:query.index(b"\0", 12) + 5] + tail, peer)
                said, complaint = asking.communicate(timeout=PATIENCE)
                self.assertEqual((asking.returncode, said, complaint.count("\n")), (1, "", 1), complaint)


class Reliable(Uses):
    def copies(self, inside=None):
        original = random.Random(7).randbytes(200_001)
        (self.folder / "original").write_bytes(original)
        port = free_port()
        with open(self.folder / "copy", "wb") as copy, open(self.folder / "original", "rb") as source:
            def command(role):
                program = [example("reliable", inside), role, f"{LOCALHOST}:{port}"]
                return [*map(str, program if inside is None else under(*program, via="kernel", flags=inside))]
            receiver = subprocess.Popen(command("receive"), stdout=copy, stderr=subprocess.PIPE, text=True)
            self.addCleanup(lambda: (receiver.terminate(), receiver.communicate()))
            self.assertIn("Listening", receiver.stderr.readline())
            code, _, said = result_of(command("send"), stdin=source, timeout=3 * PATIENCE)
            self.assertEqual(code, 0, said)
            self.assertEqual(receiver.wait(PATIENCE), 0)
        self.assertEqual((self.folder / "copy").read_bytes(), original)
        return said

    def test_all_arrives(self):
        self.assertRegex(self.copies(), r"\A168 packets, \d+ of them again\n\Z")

    def test_all_arrives_whatever_the_network_does(self):
        said = self.copies(inside=["--loss", "20%", "--delay", "5ms", "--jitter", "3ms", "--reorder", "10%", "--duplicate", "5%", "--corrupt", "2%", "--seed", "5"])
        self.assertGreater(int(said.split()[2]), 30)

    def test_nobody_there(self):
        code, _, said = result_of([example("reliable"), "send", f"{LOCALHOST}:{free_port()}"], input="x")
        self.assertEqual(code, 1)
        self.assertRegex(said, r"\Areliable: .*[Cc]onnection refused.*\n\Z")


main()
