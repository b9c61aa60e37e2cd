"""Telephone calls with SIPp, called and calling, over the kernel's sockets and under `gannet run` with loss; and messages that nobody should send."""
import array
import os
import random
import re
import socket
import subprocess
import time
import warnings

from uses import LOCALHOST, PATIENCE, Uses, example, free_port, main

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import audioop  # Debian 12's Python has it

PCAPS = "/usr/share/sip-tester/"


def voice(seconds):
    """Something like a vowel, whose pitch moves, of samples that G.711 has codes for."""
    phase, samples = 0.0, array.array("h")
    for i in range(8000 * seconds):
        phase += 120 + 30 * ((i % 8000) / 8000)
        samples.append(int(6000 * (((phase / 8000) % 1) ** 2 - 0.33)))
    return audioop.ulaw2lin(audioop.lin2ulaw(samples.tobytes(), 2), 2)


class Telephone(Uses):
    def setUp(self):
        super().setUp()
        self.need("sipp")
        self.port, self.peer, self.media = free_port(), free_port(), free_port()

    def sipp(self, *words, host=LOCALHOST):
        return ["sipp", *words, "-i", host, "-p", self.peer, "-mp", self.media, "-mi", host, "-m", 1, "-nostdin", "-timeout", f"{2 * PATIENCE}s", "-timeout_error"]

    def caller(self, seconds=3, law=8):
        """SIPp's own scenario of a caller who plays a recording of a voice, shortened."""
        scenario = self.run_one("sipp", "-sd", "uac_pcap")[1]
        scenario = scenario.replace("pcap/", PCAPS).replace('"8000"', f'"{1000 * seconds}"').replace("RTP/AVP 8 101", f"RTP/AVP {law} 101")
        (self.folder / "uac.xml").write_text(scenario)
        return "-sf", self.folder / "uac.xml"

    def numbers(self, said):
        found = {name: float(value) for value, name in re.findall(r"([\d.]+) (?:% )?([a-z][a-z ]*[a-z])", said)}
        found.update({name: float(value) for name, value in re.findall(r"(said:|heard:|played:|concealed|silent|skipped|echoes:) ([\d.]+)", said)})
        found["round trip"] = [float(value) for value in re.search(r"there and back p50 ([\d.]+) ms, p99 ([\d.]+)", said).groups()]
        return found

    def answer(self, *words, host="127.0.0.1", inside=None):
        at = f"[{host}]" if ":" in host else host
        telephone = self.start(example("voip", inside), "answer", f"{at}:{self.port}", *words, inside=inside)
        self.assertIn("Listening", telephone.stdout.readline())
        return telephone

    def ended(self, telephone):
        said = telephone.communicate(timeout=2 * PATIENCE)[0]
        self.assertEqual(telephone.returncode, 0, said)
        return self.numbers(said)

    def called(self, host=LOCALHOST, inside=None):
        telephone = self.answer("--hear", self.folder / "heard", host=host, inside=inside)
        at = f"[{host}]" if ":" in host else host
        code, said, complaint = self.run_one(*self.sipp(*self.caller(), f"{at}:{self.port}", host=host))
        self.assertEqual(code, 0, said[-2000:] + complaint)
        return self.ended(telephone)

    def test_called(self):
        if os.geteuid() != 0:
            self.skipTest("SIPp plays a recording by a raw socket, which needs root")
        # What SIPp plays: the recording's own bytes.
        recorded = subprocess.run(["tshark", "-r", PCAPS + "g711a.pcap", "-d", "udp.port==0-65535,rtp", "-T", "fields", "-e", "rtp.payload"],
                                  capture_output=True, text=True, check=True).stdout.split() if self.has("tshark") else []
        for host in LOCALHOST, "::1":
            with self.subTest(host=host):
                report = self.called(host)
                self.assertEqual(report["lost"], 0)
                self.assertTrue(80 <= report["heard:"] <= 110, "packets of 30 ms")
                self.assertLess(report["concealed"], 20)
                self.assertGreater(report["said:"], 150)
                heard = (self.folder / "heard").read_bytes()
                spoken = audioop.alaw2lin(bytes.fromhex("".join(recorded[2:60]).replace(":", "")), 2)
                self.assertIn(spoken[:8000], heard, "a half second of it, whole and in order")

    def has(self, name):
        self.need(name)
        return True

    def test_called_with_loss(self):
        if os.geteuid() != 0:
            self.skipTest("SIPp plays a recording by a raw socket, which needs root")
        report = self.called(inside=["--loss", "10%", "--delay", "20ms", "--jitter", "5ms", "--seed", "6"])
        self.assertTrue(2 <= report["lost"] <= 25, report)
        self.assertTrue(2 < report["concealed"] < 20, report)
        self.assertGreater(report["heard:"], 60)

    def call(self, seconds=3, host=LOCALHOST, inside=None):
        """Calls SIPp, which sends back each packet as it is."""
        (self.folder / "say").write_bytes(voice(seconds))
        (self.folder / "say").chmod(0o644)
        self.folder.chmod(0o777)
        peer = self.start(*self.sipp("-sn", "uas", "-rtp_echo", host=host))
        at = f"[{host}]" if ":" in host else host
        end = time.monotonic() + PATIENCE
        while True:
            code, said, complaint = self.run_one(example("voip", inside), "call", f"{at}:{self.peer}", seconds, "--say", self.folder / "say", "--hear",
                                                 self.folder / "heard", inside=inside)
            if code == 0:
                break
            self.assertIn("refused", complaint, "SIPp is not there yet")
            self.assertLess(time.monotonic(), end)
            time.sleep(0.2)
        peer.communicate(timeout=2 * PATIENCE)
        self.assertEqual(peer.returncode, 0, "SIPp had a call as it should be")
        return self.numbers(said)

    def whole_frames(self):
        """How many frames of what was said were heard to the bit, one after the other or not."""
        said = (self.folder / "say").read_bytes()
        heard = (self.folder / "heard").read_bytes()
        frames = {heard[i:i + 320] for i in range(0, len(heard), 320)}
        return sum(said[i:i + 320] in frames for i in range(0, len(said), 320)), len(said) // 320

    def test_calling_an_echo(self):
        for host in LOCALHOST, "::1":
            with self.subTest(host=host):
                report = self.call(host=host)
                self.assertGreaterEqual(report["echoes:"], report["said:"] - 5)
                self.assertEqual((report["lost"], report["unreadable"], report["of strangers"]), (0, 0, 0))
                self.assertLess(report["concealed"], 20)
                self.assertLess(report["round trip"][0], 35)
                whole, all_of_them = self.whole_frames()
                self.assertGreater(whole, 0.7 * all_of_them, "of the last few, 60 ms are under way when it is over")

    def test_calling_an_echo_with_loss(self):
        report = self.call(4, inside=["--loss", "5%", "--delay", "20ms", "--jitter", "10ms", "--seed", "4"])
        self.assertTrue(1 < report["concealed"] < 25, "5 % there, 5 % back")
        self.assertTrue(3 <= report["lost"] <= 50, report)
        self.assertTrue(35 <= report["round trip"][0] <= 150, report["round trip"])
        whole, all_of_them = self.whole_frames()
        self.assertGreater(whole, 0.5 * all_of_them)

    def test_nobody_there(self):
        code, _, complaint = self.run_one(example("voip"), "call", f"{LOCALHOST}:{self.port}", 1)
        self.assertEqual((code, complaint.count("\n")), (1, 1), complaint)
        code, _, complaint = self.run_one(example("voip"), "answer", f"0.0.0.0:{self.port}")
        self.assertIn("must be one of this machine's", complaint)

    INVITE = ("INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:x>\r\nCall-ID: 1@a\r\nCSeq: 1 INVITE\r\n"
              "Contact: <sip:a@127.0.0.1>\r\nContent-Length: {}\r\n\r\n{}")
    SOUND = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n"

    def test_strangers_and_lies(self):
        """A call that we make by hand: retransmitted, forged, truncated, refused; and sound that is none."""
        chance = random.Random(3261)
        telephone = self.answer("--hear", self.folder / "heard")
        with (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as signals, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sound,
              socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar):
            for each in signals, liar:
                each.connect((LOCALHOST, self.port))
                each.settimeout(PATIENCE)
            sound.bind((LOCALHOST, 0))
            sound.settimeout(PATIENCE)
            body = self.SOUND.format(sound.getsockname()[1])
            invite = self.INVITE.format(len(body), body)
            for text in "", "x", "SIP/2.0 200 OK\r\n\r\n", invite[:-20], invite.replace("1 INVITE", "1 BYE"), "OPTIONS" + "\r\n" * 3, "\r\n" * 500, invite * 3:
                liar.send(text.encode()[:1400] if text != invite * 3 else b"\0" * 4000)
            for _ in range(200):
                bad = bytearray(invite.encode())
                for _ in range(8):
                    bad[chance.randrange(7)] = chance.randrange(256)
                liar.send(bad)
                time.sleep(0.001)
            no_sound = self.SOUND.format(0)
            signals.send(self.INVITE.format(len(no_sound), no_sound).encode())
            self.assertIn(b"SIP/2.0 488", signals.recv(4096))
            signals.send(invite.encode())
            first = signals.recv(4096)
            self.assertTrue(first.startswith(b"SIP/2.0 200 OK\r\n"), first)
            self.assertEqual(signals.recv(4096), first, "again, since no ACK came")
            signals.send(invite.encode())
            self.assertEqual(signals.recv(4096), first, "and again, since the INVITE did")
            liar.send(invite.replace("1@a", "2@a").encode())
            self.assertIn(b"SIP/2.0 486", liar.recv(4096))
            tag = re.search(rb"To: <sip:x>;tag=(\w+)", first)[1].decode()
            later = invite[:invite.index("Contact")].replace("To: <sip:x>", f"To: <sip:x>;tag={tag}")
            signals.send((later.replace("INVITE", "ACK") + "\r\n").encode())
            port = int(re.search(rb"m=audio (\d+) ", first)[1])
            for name in "Call-ID: 1@a", f"tag={tag}", "tag=1\r":
                liar.send((later.replace("INVITE", "BYE").replace("branch=z9hG4bK1", "branch=z9hG4bK2").replace(name, name[:-1] + "no\r" * name.endswith("\r")) + "\r\n").encode())
                self.assertIn(b"SIP/2.0 481", liar.recv(4096))
            heard = sound.recvfrom(2048)
            self.assertEqual((len(heard[0]), heard[0][0], heard[0][1] & 127), (172, 0x80, 0))
            for i in range(100):
                packet = b"\x80\0" + (100 + i).to_bytes(2, "big") + (160 * i).to_bytes(4, "big") + b"\0\0\0\7"
                sound.sendto(packet + bytes([0x80 + i]) * 160, (LOCALHOST, port))
                sound.sendto(packet + bytes(160), (LOCALHOST, port))  # replayed, with another sound
                liar_packet = packet[:8] + b"\0\0\0\x08" + bytes(160)
                sound.sendto(liar_packet if i % 2 else packet[:11], (LOCALHOST, port))
                sound.sendto(chance.randbytes(chance.randrange(300)), (LOCALHOST, port))
                time.sleep(0.018)
            signals.send((later.replace("INVITE", "BYE").replace("branch=z9hG4bK1", "branch=z9hG4bK3") + "\r\n").encode())
            while not (answer := signals.recv(4096)).startswith(b"SIP/2.0 200") or b"BYE" not in answer:
                pass
            report = self.ended(telephone)
        self.assertGreaterEqual(report["heard:"], 90)
        self.assertGreaterEqual(report["duplicated"], 90)
        self.assertEqual(report["lost"], 0)
        self.assertGreaterEqual(report["messages again"], 1)
        heard = (self.folder / "heard").read_bytes()
        self.assertGreater(sum(audioop.ulaw2lin(bytes([0x80 + i]) * 160, 2) in heard for i in range(90)), 60)


main()
