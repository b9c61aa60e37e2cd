"""`gannet print` on capture files that are whole, cut off and damaged; the files are written here, byte by byte."""
import os
import struct
import tempfile
import time
from pathlib import Path

from gannet import Command, events, main, run

ETHERNET, IP = 1, 101


def packet(payload=b"Hello, UDP server!"):
    """An IPv4 packet, 10.7.0.1:40000 > 10.7.0.2:65433, with no UDP checksum."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, bytes([10, 7, 0, 1]), bytes([10, 7, 0, 2]))
    total = sum(struct.unpack("!10H", header))
    checksum = ~(total + (total >> 16)) & 0xffff
    return header[:10] + struct.pack("!H", checksum) + header[12:] + struct.pack("!HHHH", 40000, 65433, 8 + len(payload), 0) + payload


def block(kind, body):
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length


def pcapng(packets):
    data = block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1)) + block(1, struct.pack("<HHI", IP, 0, 0))
    for number, each in enumerate(packets):
        stamp = 1_700_000_000_000_000 + number  # microseconds
        data += block(6, struct.pack("<IIIII", 0, stamp >> 32, stamp & 0xffffffff, len(each), len(each)) + each)
    return data


def pcap(packets):
    data = struct.pack(">IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, IP)  # the other byte order
    for number, each in enumerate(packets):
        data += struct.pack(">IIII", 1_700_000_000, number, len(each), len(each)) + each
    return data


LINE = "IP 10.7.0.1.40000 > 10.7.0.2.65433: UDP, length 18 (no cksum)"


class Print(Command):
    def setUp(self):
        os.environ["TZ"] = "UTC"
        time.tzset()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "some.pcapng"

    def print(self, data, *arguments):
        self.path.write_bytes(data)
        return run("print", *arguments, self.path)

    def test_a_line_for_each_packet_of_either_format(self):
        for file in pcapng, pcap:
            code, text, complaint = self.print(file([packet(), packet()]))
            self.assertEqual((code, complaint), (0, ""))
            self.assertEqual(text, f"22:13:20.000000000 {LINE}\n22:13:20.000001000 {LINE}\n")

    def test_json_has_the_promised_keys(self):
        code, text, _ = self.print(pcapng([packet()]), "--json")
        self.assertEqual(code, 0)
        keys = ["event", "number", "time", "interface", "direction", "bytes", "length", "line", "comment"]
        (captured,) = events(text)
        self.assertEqual(list(captured), keys)
        self.assertEqual((captured["event"], captured["time"], captured["length"], captured["line"]), ("captured", "1700000000.000000000", 46, LINE))

    def test_the_count_ends_it(self):
        self.assertEqual(self.print(pcapng([packet()] * 5), "-n", 2)[1].count("\n"), 2)

    def test_standard_input(self):
        self.path.write_bytes(pcapng([packet()]))
        code, text, _ = run("print", "-", stdin=pcapng([packet(b"ascii")]).decode("latin-1"), encoding="latin-1")
        self.assertEqual((code, text.count("\n")), (0, 1))

    def test_a_bad_packet_is_printed_with_what_is_wrong(self):
        code, text, _ = self.print(pcapng([packet()[:-1]]))
        self.assertEqual(code, 0)
        self.assertRegex(text, r"\[\w+\]\n$")

    def test_every_cut_is_read_up_to_there_and_named(self):
        whole = pcapng([packet(), packet()])
        second = len(pcapng([packet()]))
        for size in range(second + 1, len(whole), 7):
            code, text, complaint = self.print(whole[:size])
            self.assertEqual((code, text.count("\n")), (1, 1), size)
            self.assertRegex(complaint, rf"^gannet: \S+ is damaged at byte {second}: .+; there is 1 packet before it\n$")

    def test_damage_is_named_and_never_believed(self):
        damaged = bytearray(pcapng([packet(), packet()]))
        second = len(pcapng([packet()]))
        damaged[second + 4:second + 8] = b"\xff\xff\xff\xff"  # the length of the block
        code, text, complaint = self.print(bytes(damaged))
        self.assertEqual((code, text.count("\n")), (1, 1))
        self.assertIn(f"damaged at byte {second}: ", complaint)

    def test_what_is_no_capture(self):
        self.path.write_bytes(b"This is a letter, not a capture file.\n" * 3)
        self.refuses(["print", self.path], 1, "damaged at byte 0", "there is no packet before it")
        self.path.write_bytes(b"")
        self.refuses(["print", self.path], 1, "damaged at byte 0", "it is empty")
        self.refuses(["print", self.path.parent / "nowhere.pcapng"], 1, "cannot read", "No such file or directory")
        self.refuses(["print"], 2, "FILE is missing")


if __name__ == "__main__":
    main()
