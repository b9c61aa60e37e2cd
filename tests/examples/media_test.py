"""Streams of RTP that FFmpeg and GStreamer send, over the kernel's sockets and under `gannet run` with loss; and packets that nobody should send."""
import array
import os
import random
import re
import socket
import struct
import subprocess
import time

from uses import LOCALHOST, PATIENCE, Uses, example, main


def free_pair(host=LOCALHOST):
    """An even port and the one after it, both free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_DGRAM) as probe, socket.socket(family, socket.SOCK_DGRAM) as beside:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
            try:
                beside.bind((host, port + 1))
            except OSError:
                continue
            if port % 2 == 0:
                return port


class Receiver(Uses):
    FFMPEG = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y"]
    NETWORK = ["--delay", "30ms", "--jitter", "20ms", "--reorder", "10%", "--seed", "3"]

    def receive(self, *words, host=LOCALHOST, inside=None):
        self.port = free_pair(host)
        self.at = f"[{host}]" if ":" in host else host
        self.receiver = self.start(example("rtp_receiver", inside), f"{self.at}:{self.port}", *words, inside=inside)
        self.assertIn("Listening", self.receiver.stdout.readline())

    def report(self):
        """Its numbers, by the word that follows each or goes before it."""
        said = self.receiver.communicate(timeout=2 * PATIENCE)[0]
        self.assertEqual(self.receiver.returncode, 0, said)
        found = {}
        for value, name in re.findall(r"([\d.]+) (?:% )?([a-z][a-zA-Z ]*)", said):
            found.setdefault(name.strip(), float(value))
        for name, value in re.findall(r"(concealed|silent|p50|p99|most|jitter) ([\d.]+)", said):
            found[name] = float(value)
        return found

    def ffmpeg(self, *words):
        self.need("ffmpeg")
        code, said, complaint = self.run_one(*self.FFMPEG, *words)
        self.assertEqual(code, 0, complaint)
        return said

    def stream(self, *words, more=""):
        return self.ffmpeg("-re", *words, "-f", "rtp", "-sdp_file", "sdp", f"rtp://{self.at}:{self.port}?pkt_size=1200{more}")

    def gstreamer(self, *elements):
        self.need("gst-launch-1.0")
        for element in elements:
            if subprocess.run(["gst-inspect-1.0", "--exists", element.split()[0]], check=False).returncode and "/" not in element.split()[0]:
                self.skipTest(f"GStreamer has no {element.split()[0]}")
        command = " ! ".join([*elements, f"udpsink host={LOCALHOST} port={self.port}"]).split()
        code, _, complaint = self.run_one("gst-launch-1.0", "-q", *command)
        self.assertEqual(code, 0, complaint)

    def video(self, seconds=3):
        """A film of a picture that changes, 25 a second, a key each second, of which FFmpeg makes more packets than one for a picture."""
        self.ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", seconds, "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
                    "-g", "25", "-pix_fmt", "yuv420p", "-threads", "1", "film.h264")

    def pictures(self, name):
        """A sum of each decoded picture."""
        said = self.ffmpeg("-i", name, "-f", "framemd5", "-")
        return [line.split(",")[-1].strip() for line in said.splitlines() if not line.startswith("#")]


class Streaming(Receiver):
    def test_video_of_ffmpeg(self):
        for host in LOCALHOST, "::1":
            with self.subTest(host=host):
                self.video()
                self.receive("h264", "--output", "got.h264", host=host)
                self.stream("-i", "film.h264", "-c", "copy")
                report = self.report()
                self.assertEqual((report["units"], report["of them keys"], report["damaged"], report["packets unusable"]), (75, 3, 0, 0))
                self.assertEqual((report["lost"], report["duplicated"], report["unreadable"], report["unbelieved"]), (0, 0, 0, 0))
                self.assertGreater(report["packets delivered"], 150)
                self.assertGreaterEqual(report["control"], 1, "FFmpeg's report")
                self.assertEqual(self.pictures("got.h264"), self.pictures("film.h264"))

    def test_video_with_loss(self):
        self.video(4)
        whole = self.pictures("film.h264")
        for loss in 0, 5, 20:
            with self.subTest(loss=loss):
                flags = ["--loss", f"{loss}%", *self.NETWORK]
                self.receive("h264", "--output", "got.h264", "--budget", 400, inside=flags)  # so that nothing is late on a busy machine
                self.stream("-i", "film.h264", "-c", "copy")
                report = self.report()
                self.assertGreater(report["most"], 30, "what waited for those that were overtaken")
                if loss == 0:
                    self.assertEqual((report["lost"], report["damaged"], report["packets unusable"], report["units"]), (0, 0, 0, 100))
                    self.assertEqual(self.pictures("got.h264"), whole)
                else:
                    self.assertTrue(loss / 2.5 < 100 * report["lost"] / (report["lost"] + report["packets delivered"]) < 2 * loss, report)
                    self.assertGreater(report["damaged"], 0)
                    self.assertGreaterEqual(report["units"], 30, "a picture may be lost whole")
                    self.assertTrue(set(self.pictures("got.h264")) & set(whole))

    def test_sound_of_ffmpeg_is_the_same_to_the_bit(self):
        for codec, coder, decoder in ("pcmu", "pcm_mulaw", "mulaw"), ("pcma", "pcm_alaw", "alaw"):
            with self.subTest(codec=codec):
                self.ffmpeg("-f", "lavfi", "-i", "anoisesrc=sample_rate=8000:amplitude=0.9", "-t", 2, "-c:a", coder, "-f", decoder, "sound")
                self.ffmpeg("-f", decoder, "-ar", 8000, "-i", "sound", "-f", "s16le", "sound.raw")
                self.receive(codec, "--rate", 8000, "--output", "got.raw")
                self.stream("-f", decoder, "-ar", 8000, "-i", "sound", "-c", "copy")
                report = self.report()
                self.assertEqual((report["concealed"], report["silent"], report["jumps"], report["windows"]), (0, 0, 0, 100))
                self.assertEqual((self.folder / "got.raw").read_bytes(), (self.folder / "sound.raw").read_bytes())

    def tone(self, name, rate, hertz=440):
        """How much of a file is a tone of so many hertz: 1 is all of it."""
        samples = array.array("h", (self.folder / name).read_bytes())[rate // 2:][:rate]
        self.assertEqual(len(samples), rate)
        step = 2 * 3.141592653589793 * hertz / rate
        wave = [complex(0, -step * i) for i in range(rate)]
        part = sum(sample * (2.718281828459045 ** angle) for sample, angle in zip(samples, wave))
        return 2 * abs(part) ** 2 / rate / sum(sample * sample for sample in samples)

    def test_sound_of_gstreamer_resampled(self):
        self.receive("l16/44100/2", "--output", "got.raw")
        self.gstreamer("audiotestsrc num-buffers=100 samplesperbuffer=882 is-live=true", "audio/x-raw,format=S16BE,rate=44100,channels=2", "rtpL16pay")
        report = self.report()
        self.assertEqual((report["windows"], report["concealed"], report["lost"], report["packets unusable"]), (100, 0, 0, 0))
        self.assertGreater(self.tone("got.raw", 16000), 0.9999)

    def test_sound_of_gstreamer_with_loss(self):
        flags = ["--loss", "10%", *self.NETWORK]
        self.receive("pcmu", "--output", "got.raw", "--budget", 200, inside=flags)
        self.gstreamer("audiotestsrc num-buffers=200 samplesperbuffer=160 is-live=true", "audio/x-raw,rate=8000,channels=1", "mulawenc", "rtppcmupay")
        report = self.report()
        self.assertTrue(4 < report["concealed"] < 20, report)
        self.assertGreaterEqual(report["windows"], 190, "concealed ones are windows, too")
        self.assertTrue(report["p50"] <= report["p99"] <= report["most"] and report["p50"] < 200, report)
        self.assertGreater(self.tone("got.raw", 16000), 0.9, "a tone goes on through a gap, if not quite")

    def test_opus(self):
        for sender in "ffmpeg", "gstreamer":
            with self.subTest(sender=sender):
                self.receive("opus", "--output", "got.opus")
                if sender == "ffmpeg":
                    self.stream("-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", 2, "-c:a", "libopus", "-frame_duration", 20)
                else:
                    self.gstreamer("audiotestsrc num-buffers=100 samplesperbuffer=960 is-live=true", "audio/x-raw,rate=48000,channels=1", "opusenc", "rtpopuspay")
                report = self.report()
                self.assertIn(report["packets of Opus"], (100, 101))
                self.assertEqual((report["frames"], report["gaps"], report["packets unusable"]), (report["packets of Opus"], 0, 0))
                self.decoded_opus()

    def decoded_opus(self):
        """FFmpeg takes the file, and hears the tone in it."""
        self.ffmpeg("-i", "got.opus", "-f", "s16le", "-ac", 1, "-ar", 16000, "got.raw")
        self.assertAlmostEqual((self.folder / "got.raw").stat().st_size / 32000, 2, delta=0.05)
        self.assertGreater(self.tone("got.raw", 16000), 0.99)

    def test_opus_with_loss(self):
        self.receive("opus", inside=["--loss", "20%", "--seed", "3"])
        self.stream("-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", 4, "-c:a", "libopus", "-frame_duration", 20)
        report = self.report()
        self.assertTrue(10 < report["concealed"] < 32, report)
        self.assertTrue(10 < report["gaps"] <= report["lost"], report)

    def test_video_of_gstreamer(self):
        for mode in "none", "zero-latency":
            with self.subTest(mode=mode):
                self.receive("h264", "--output", "got.h264")
                self.gstreamer("videotestsrc num-buffers=50 is-live=true pattern=ball", "video/x-raw,width=320,height=240,framerate=25/1",
                               "x264enc tune=zerolatency key-int-max=25 sliced-threads=false", f"rtph264pay config-interval=-1 aggregate-mode={mode} mtu=800")
                report = self.report()
                self.assertEqual((report["units"], report["of them keys"], report["damaged"], report["packets unusable"]), (50, 2, 0, 0))
                self.assertEqual(len(self.pictures("got.h264")), 50)


def rtp(sequence, payload=b"\xff" * 160, ssrc=7, kind=0, timestamp=None):
    return struct.pack(">BBHII", 0x80, kind, sequence & 0xffff, (160 * sequence if timestamp is None else timestamp) & 0xffffffff, ssrc) + payload


class Enemies(Receiver):
    """The honest one sends 100 packets, and between any two of them the others do their worst: what is heard is what was said."""

    def against(self, *worst):
        self.receive("pcmu", "--rate", 8000, "--output", "got.raw")
        said = [bytes(random.Random(i).choices(range(256), k=160)) for i in range(100)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as self.honest, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as self.liar:
            self.honest.connect((LOCALHOST, self.port))
            self.liar.connect((LOCALHOST, self.port))
            for i, payload in enumerate(said):
                self.honest.send(rtp(65500 + i, payload))
                time.sleep(0.01)
                if i > 1:
                    for each in worst:
                        each(i)
            report = self.report()
        (self.folder / "said").write_bytes(b"".join(said))
        self.ffmpeg("-f", "mulaw", "-ar", 8000, "-i", "said", "-f", "s16le", "said.raw")
        self.assertEqual((self.folder / "got.raw").read_bytes(), (self.folder / "said.raw").read_bytes())
        self.assertEqual((report["packets delivered"], report["lost"]), (100, 0))
        return report

    def test_strangers_pieces_and_replays(self):
        chance = random.Random(3550)
        history = []
        pieces = [b"", b"\x80", rtp(1)[:11], b"\xbf" + rtp(1)[1:40], b"\x40" + rtp(1)[1:], b"\x90" + rtp(1)[1:12] + b"\xff" * 4, b"\xa0" + rtp(1)[1:-1] + b"\xff"]

        def replay(i):
            history.append(i)
            self.honest.send(rtp(65500 + chance.choice(history), b"\0" * 160))

        report = self.against(lambda i: [self.liar.send(rtp(65501 + i, b"\0" * 160)), self.liar.send(rtp(i, ssrc=8))],  # the same number, and another
                              lambda i: [self.liar.send(piece) for piece in pieces],
                              lambda i: self.honest.send(chance.randbytes(chance.randrange(60))), replay,
                              lambda i: self.honest.send(rtp(chance.randrange(3200, 60000), timestamp=chance.getrandbits(32))))
        self.assertEqual(report["duplicated"], 98)
        self.assertGreaterEqual(report["of strangers"], 98 * 2)
        self.assertGreaterEqual(report["unreadable"], 98 * len(pieces))
        self.assertGreaterEqual(report["unbelieved"], 90)

    def test_reordered_by_hand(self):
        self.receive("pcmu")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as honest:
            for i in range(0, 120, 4):
                for j in 3, 1, 2, 0:
                    honest.sendto(rtp(i + j), (LOCALHOST, self.port))
                time.sleep(0.02)
            report = self.report()
        self.assertEqual((report["packets delivered"], report["lost"], report["late"], report["concealed"]), (120, 0, 0, 0))

    def test_control(self):
        """Reports of a receiver as RFC 3550 6.4.2 has them; and control that is none."""
        self.receive("pcmu")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            control.settimeout(PATIENCE)
            for i in range(100):
                if i % 4 != 3:
                    media.sendto(rtp(i), (LOCALHOST, self.port))
                if i == 10:
                    for junk in b"", b"\x80", b"\x81\xc9\0\7", b"\x80\xc8\0\6" + bytes(20), os.urandom(100):
                        control.sendto(junk, (LOCALHOST, self.port + 1))
                    control.sendto(struct.pack(">BBHIIIIII", 0x80, 200, 6, 7, 0x11112222, 0x33334444, 0, 0, 0), (LOCALHOST, self.port + 1))
                time.sleep(0.03)
            compound, where = control.recvfrom(2048)
            self.assertEqual(where[1], self.port + 1)
            first, kind, words, own, ssrc, lost, highest, jitter, last, delay = struct.unpack_from(">BBHIIIIIII", compound)
            self.assertEqual((first, kind, words, ssrc), (0x81, 201, 7, 7))
            self.assertAlmostEqual((lost >> 24) / 256, 0.25, delta=0.05)
            self.assertAlmostEqual((lost & 0xffffff) / (highest + 1), 0.25, delta=0.03)
            self.assertTrue(20 <= highest < 100, highest)
            self.assertEqual(last, 0x22223333)
            self.assertTrue(0.5 < delay / 65536 < 30, delay)
            self.assertEqual(compound[33], 202, "then who we are")
            while compound[-8:-4] != b"\x81\xcb\0\1":
                compound = control.recv(2048)
            self.assertEqual(compound[-4:], struct.pack(">I", own), "and in the end BYE")
        report = self.report()
        self.assertEqual((report["control"], report["of it unreadable"]), (1, 5))

    def test_what_is_no_codec(self):
        chance = random.Random(6184)
        for codec in "h264", "opus", "l16/48000/2":
            with self.subTest(codec=codec):
                self.receive(codec)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
                    liar.connect((LOCALHOST, self.port))
                    for i in range(2000):
                        first = bytes([chance.choice([0x78, 0x7c, 0x41, 0x80, 0x1b, chance.randrange(256)])])
                        liar.send(rtp(i, first + chance.randbytes(chance.randrange(200)), kind=96 + (i % 50 == 49), timestamp=chance.getrandbits(32)))
                        if i % 20 == 0:
                            time.sleep(0.001)
                report = self.report()
                self.assertGreater(report["packets unusable"], 100)
                self.assertGreater(report["of another type"], 20)


main()
