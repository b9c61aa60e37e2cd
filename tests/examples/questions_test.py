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
        self.until_it_works(example("tftp"), "get", self.at(self.port), "empty", "copy")
        for name in self.sizes:
            self.assertEqual(self.run_one(example("tftp", inside), "get", self.at(self.port), name, "copy", inside=inside), (0, "", ""))
            self.same(name, self.folder / "copy")
            self.assertEqual(self.run_one(example("tftp", inside), "put", self.at(self.port), f"{name}.put", f"new {name}", inside=inside), (0, "", ""))
            self.same(name, self.served / f"new {name}")

    def atftpd(self):
        self.need("atftpd")
        return [Path(shutil.which("atftpd")), "--daemon", "--no-fork", "--port", self.port, "--bind-address", self.host, "--user", "nobody.nogroup", self.served]

    def own_server(self, inside=None):
        return [example("tftp", inside), "serve", self.at(self.port), self.served]

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
                    code, _, said = self.run_one("atftp", *options, "-g", "-r", name, "-l", "copy", self.host, self.port)
                    self.assertEqual(code, 0, said)
                    self.same(name, self.folder / "copy")
                    code, _, said = self.run_one("atftp", *options, "-p", "-l", f"{name}.put", "-r", "new", self.host, self.port)
                    self.assertEqual(code, 0, said)
                    self.same(name, self.served / "new")

    def test_with_atftp(self):
        self.atftp_and_ours()

    def test_with_atftp_and_loss(self):
        self.atftp_and_ours(inside=self.LOSS)

    def test_over_ipv6(self):
        self.over_ipv6()
        self.ours_and(self.own_server())

    def test_over_ipv6_with_atftp(self):
        self.over_ipv6()
        self.atftp_and_ours()

    def test_names_that_lead_out_of_the_folder(self):
        self.serve(*self.own_server())
        (self.folder / "secret").write_text("secret")
        (self.served / "link").symlink_to("../secret")
        (self.served / "circle").symlink_to("circle")
        for name in "../secret", "../../etc/passwd", "link", "sub/../../secret", ".", "/", "circle", "x" * 300, "new/../../secret", "link/../odd/../../secret", "nothing/..", "nothing/.":
            code, _, said = self.run_one(example("tftp"), "get", self.at(self.port), name, "stolen")
            self.assertEqual((code, said.count("\n")), (1, 1), said)
            code, _, said = self.run_one(example("tftp"), "put", self.at(self.port), "odd.put", name)
            self.assertEqual((code, said.count("\n")), (1, 1), said)
        self.assertFalse((self.folder / "stolen").exists())
        self.assertEqual((self.folder / "secret").read_text(), "secret")
        self.assertEqual(sorted(os.listdir(self.served)), sorted([*self.sizes, "link", "circle"]))

    def test_what_is_no_request(self):
        self.serve(*self.own_server())
        chance = random.Random(1350)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
            hostile.connect((LOCALHOST, self.port))
            for kind in b"", b"\0", b"\0\1", b"\0\1x\0", b"\0\1x\0octet", b"\0\2x\0netascii\0", b"\0\3\0\1", b"\0\1" + b"x" * 1400, b"\0\1\0\0\0":
                hostile.send(kind)
            for _ in range(200):
                hostile.send(bytes([0, chance.randrange(8)]) + chance.randbytes(chance.randrange(600)))
        self.assertEqual(self.run_one(example("tftp"), "get", self.at(self.port), "odd", "copy"), (0, "", ""))
        self.assertEqual(sorted(os.listdir(self.served)), sorted(self.sizes))

    def server_side(self, *words):
        """A client of ours, the socket of a server that asks it to speak with another, and the client's address."""
        asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(asked.close)
        asked.bind((LOCALHOST, self.port))
        asked.settimeout(PATIENCE)
        client = subprocess.Popen([*map(str, (example("tftp"), *words))], stderr=subprocess.PIPE, text=True, cwd=self.folder)
        self.addCleanup(lambda: (client.kill(), client.communicate()))
        _, peer = asked.recvfrom(2000)
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(own.close)
        own.connect(peer)
        own.settimeout(PATIENCE)
        return client, own, peer

    def test_forged_replayed_reordered_and_cut_blocks(self):
        client, own, peer = self.server_side("get", self.at(self.port), "name", "copy")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.settimeout(PATIENCE)
            stranger.connect(peer)
            own.send(b"\0\6blksize\0" + b"8\0")
            self.assertEqual(own.recv(2000), b"\0\4\0\0")
            stranger.send(b"\0\3\0\1forged!!")
            self.assertEqual(stranger.recv(2000)[:4], b"\0\5\0\5", "not your transfer")
            for block in b"", b"\0", b"\0\3\0", b"\0\3\0\2reorderd", b"\0\3\xff\xffwrapped!", b"\0\4\0\1", b"\0\7\0\1", b"\0\6blksize\0" + b"1428\0":
                own.send(block)
            own.send(b"\0\3\0\1original")
            self.assertEqual(own.recv(2000), b"\0\4\0\1", "and nothing was said to all that")
            for _ in range(5):
                own.send(b"\0\3\0\1replayed")
            own.send(b"\0\3\0\2end")
            self.assertEqual(own.recv(2000), b"\0\4\0\2", "a block that came again is not acknowledged again: that would double all that follows")
        self.assertEqual(client.communicate(timeout=PATIENCE), (None, ""))
        self.assertEqual((client.returncode, (self.folder / "copy").read_bytes()), (0, b"originalend"))

    def test_lies_of_a_server(self):
        for lie, said in (b"\0\3\0\1" + b"x" * 1428, "larger blocks than agreed"), (b"\0\5\0\1\x1b[2Jgone", "?[2Jgone"), (b"\0\5\0\1", "the other side says"):
            with self.subTest(lie=lie[:20]):
                client, own, _ = self.server_side("get", self.at(self.port), "name", "copy")
                own.send(lie)
                complaint = client.communicate(timeout=PATIENCE)[1]
                self.assertEqual((client.returncode, complaint.count("\n")), (1, 1), complaint)
                self.assertIn(said, complaint)
                self.assertEqual([path.name for path in self.folder.iterdir() if path.name.startswith("copy")], [])
                self.port = free_port()


class Dns(Uses):
    RECORDS = ["--host-record=gannet.test,192.0.2.53,2001:db8::53", "--txt-record=gannet.test,one,two words", "--address=/nosuch.test/"]

    def setUp(self):
        super().setUp()
        self.need("dnsmasq")
        self.port = free_port()

    def ask(self, *words, inside=None):
        return self.run_one(example("dns_query", inside), self.at(self.port), *words, inside=inside)

    def answers(self, inside=None):
        self.start("dnsmasq", "-k", "-p", self.port, "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--user=", "--group=",
                   "--bind-interfaces", f"--listen-address={self.host}", *self.RECORDS)
        self.until_it_works(example("dns_query"), self.at(self.port), "gannet.test")
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

    def test_over_ipv6(self):
        self.over_ipv6()
        self.answers()

    def test_nobody_there(self):
        code, _, complaint = self.ask("gannet.test")
        self.assertEqual(code, 1)
        self.assertIn("refused", complaint)

    def test_silence_and_forgeries(self):
        """A server that says everything but the answer: each is ignored, and the true answer, which comes last, is taken."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            server.bind((LOCALHOST, self.port))
            server.settimeout(PATIENCE)
            asking = subprocess.Popen([example("dns_query"), self.at(self.port), "a.test"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
        for tail in b"", b"\xc0", b"\xc0\x18", b"\xc0\xff", b"\xc0\x0c\0\1", b"\x40" + b"x" * 64 + b"\0", b"\3abc\xc0\x18", b"\xc0\x0c\0\1\0\1\0\0\0\x3c\xff\xff\1", b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\3\1\2\3", b"\x3f" * 40:
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
                program = [example("reliable", inside), role, self.at(port)]
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

    def test_over_ipv6(self):
        self.over_ipv6()
        self.copies()

    def test_forged_replayed_reordered_and_cut_packets(self):
        port = free_port()
        receiver = subprocess.Popen([example("reliable"), "receive", self.at(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(lambda: (receiver.kill(), receiver.communicate()))
        self.assertIn(b"Listening", receiver.stderr.readline())

        def packet(number, content):
            return number.to_bytes(4) + b"\1" + content
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for each in sender, stranger:
                each.connect((LOCALHOST, port))
                each.settimeout(PATIENCE)
            sender.send(packet(0, b"one "))
            self.assertEqual(sender.recv(100), b"\0\0\0\1" + bytes(8) + b"\0\0\0\0\1")
            with self.assertRaises(ConnectionRefusedError):
                stranger.send(packet(1, b"forged "))
                stranger.recv(100)
            for cut in b"", b"\0\0\0", b"\0\0\0\1":
                sender.send(cut)
            for number in 0, 66, 1 << 31, (1 << 32) - 1:  # again, and from beyond the window
                sender.send(packet(number, b"no "))
                self.assertEqual(sender.recv(100)[:12], b"\0\0\0\1" + bytes(8))
            sender.send(packet(65, b"no "))
            self.assertEqual(sender.recv(100)[:12], b"\0\0\0\1\x80" + bytes(7), "the last in the window")
            for number, content in (3, b""), (2, b"three"), (4, b"after the end"), (1, b"two "), (1, b"again "), (4, b"after the end"), (5, b""):
                sender.send(packet(number, content))
            said, complaint = receiver.communicate(timeout=PATIENCE)
        self.assertEqual((receiver.returncode, said, complaint), (0, b"one two three", b""))

    def test_lies_of_a_receiver(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind((LOCALHOST, 0))
            receiver.settimeout(PATIENCE)
            sending = subprocess.Popen([example("reliable"), "send", self.at(receiver.getsockname()[1])], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            self.addCleanup(lambda: (sending.kill(), sending.communicate()))
            sending.stdin.write(b"x")
            sending.stdin.close()
            sending.stdin = None  # nothing more is to be said
            first, peer = receiver.recvfrom(2000)
            for lie in b"", b"x" * 16, b"x" * 18, b"\xff" * 17, b"\0\0\0\3" + b"\xff" * 8 + first[:5], b"\0\0\0\0" + bytes(8) + b"\xff" * 5:
                receiver.sendto(lie, peer)
            while receiver.recv(2000) != b"\0\0\0\0\2x":  # it asks for an acknowledgement still
                pass
            receiver.sendto(b"\0\0\0\2" + bytes(8) + b"\0\0\0\0\2", peer)
            self.assertEqual(sending.wait(PATIENCE), 0)
            self.assertIn(b"2 packets", sending.stderr.read())

    def test_nobody_there(self):
        code, _, said = result_of([example("reliable"), "send", f"{LOCALHOST}:{free_port()}"], input="x")
        self.assertEqual(code, 1)
        self.assertRegex(said, r"\Areliable: .*[Cc]onnection refused.*\n\Z")


main()
