"""send, listen and echo over the kernel's UDP, on the loopback interface of a network namespace that nobody else has."""
import socket
import subprocess
import tempfile

from gannet import Command, Running, enter_namespace, events, main, run

PORT = 65433


class Echo(Command):
    def setUp(self):
        self.echo = Running("echo", "127.0.0.1", PORT)

    def tearDown(self):
        if self.echo.process.poll() is None:
            self.echo.end()

    def test_answers_what_a_plain_socket_asks(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"Hello, UDP server!", ("127.0.0.1", PORT))
            self.assertEqual(client.recvfrom(1024), (b"Hello, UDP server!", ("127.0.0.1", PORT)))
        code, seen = self.echo.end()
        self.assertEqual(code, 0)
        (received,) = [each for each in seen if each["event"] == "received"]
        self.assertEqual(received["text"], "Hello, UDP server!")
        self.assertEqual((received["ttl"], received["tos"], received["truncated"]), (64, 0, False))
        summary = seen[-1]
        self.assertEqual((summary["event"], summary["datagrams_in"], summary["datagrams_out"], summary["bytes_out"]), ("summary", 1, 1, 18))

    def test_send_prints_the_reply_and_a_summary(self):
        code, output, complaint = run("send", "-w", "20s", "--data", "Hello, UDP server!", "127.0.0.1", PORT)
        self.assertEqual((code, output), (0, "Hello, UDP server!\n"))
        self.assertIn("1 datagram out (18 bytes), 1 in (18 bytes), 0 without a reply", complaint)
        self.assertIn("round trip: min", complaint)

    def test_lines_of_standard_input_are_datagrams(self):
        code, output, _ = run("send", "-w", "20s", "127.0.0.1", PORT, stdin="one\ntwo\n\nlast")
        self.assertEqual((code, sorted(output.split("\n"))), (0, sorted(["one", "two", "", "last", ""])))

    def test_json_has_the_promised_keys(self):
        code, output, complaint = run("send", "-w", "20s", "--data", "a", "--data", "b", "--json", "127.0.0.1", PORT)
        self.assertEqual((code, complaint), (0, ""))
        self.assertEqual([list(each) for each in events(output, "sent")], [["event", "number", "to", "bytes"]] * 2)
        keys = ["event", "peer", "local", "interface", "ttl", "tos", "bytes", "length", "truncated", "text", "number", "rtt_us"]
        self.assertEqual([list(each) for each in events(output, "received")], [keys] * 2)
        (summary,) = events(output, "summary")
        keys = ["datagrams_out", "bytes_out", "datagrams_in", "bytes_in", "replies", "lost", "errors", "rtt_us", "drops", "counters"]
        self.assertEqual(list(summary), ["event", *keys])
        self.assertEqual(list(summary["rtt_us"]), ["min", "p50", "p90", "p99", "max"])

    def test_ping_numbers_and_times_each(self):
        code, output, _ = run("send", "--ping", "-w", "20s", "-n", 3, "--interval", "1ms", "127.0.0.1", PORT)
        self.assertEqual(code, 0)
        for number, line in enumerate(output.splitlines(), 1):
            self.assertRegex(line, rf"^56 bytes from 127\.0\.0\.1:65433, ttl 64, number {number}, [0-9.]+ ms$")

    def test_the_largest_datagram_and_one_more(self):
        subprocess.run(["ip", "link", "set", "lo", "mtu", "1500"], check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "set", "lo", "mtu", "65536"], check=True)
        code, output, _ = run("send", "--size", 65507, "--raw", "-w", "20s", "127.0.0.1", PORT)
        self.assertEqual((code, len(output)), (0, 65507))
        self.refuses(["send", "--size", 65508, "127.0.0.1", PORT], 1, "65508 bytes do not fit into one datagram", "65507 at most")
        code, output, _ = run("send", "--size", "mtu", "-D", "--raw", "-w", "20s", "127.0.0.1", PORT)
        self.assertEqual((code, len(output)), (0, 1472))
        self.refuses(["send", "--size", 1473, "-D", "127.0.0.1", PORT], 1, "the path's MTU is 1500, less 28 of headers leaves 1472")

    def test_data_that_is_no_text_is_hex(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"\xff\x00\x1b")
            file.flush()
            code, output, _ = run("send", "--file", file.name, "-w", "20s", "--json", "127.0.0.1", PORT)
        self.assertEqual((code, events(output, "received")[0]["hex"]), (0, "ff001b"))


class Listen(Command):
    def test_a_talk_with_the_first_who_sends(self):
        listen = Running("listen", PORT)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
            first.sendto(b"hello", ("127.0.0.1", PORT))
            self.assertEqual(listen.wait_for("received")["text"], "hello")
            second.sendto(b"me too", ("127.0.0.1", PORT))
            listen.process.stdin.write("good day\n")
            listen.process.stdin.flush()
            first.settimeout(60)
            self.assertEqual(first.recv(100), b"good day")
        code, seen = listen.end()
        self.assertEqual((code, seen[-1]["datagrams_in"], seen[-1]["datagrams_out"]), (0, 1, 1))

    def test_keep_hears_everybody_until_the_count(self):
        listen = Running("listen", "-k", "-n", 2, "-I", 5000, PORT)
        for text in "one", "two":
            self.assertEqual(run("send", "-w", 0, "--data", text, "127.0.0.1", PORT)[0], 0)
        code, seen = listen.rest()
        self.assertEqual((code, [each["text"] for each in seen if each["event"] == "received"]), (0, ["one", "two"]))

    def test_ends_after_quiet(self):
        code, output, complaint = run("listen", "-w", "10ms", PORT)
        self.assertEqual((code, output), (0, ""))
        self.assertIn("0 datagrams out (0 bytes), 0 in", complaint)

    def test_a_slow_receiver_loses_and_says_where(self):
        listen = Running("listen", "-k", "--work", "2ms", "-I", 4096, PORT)
        self.assertEqual(run("send", "-w", 0, "--size", 1000, "-n", 200, "127.0.0.1", PORT)[0], 0)
        while not listen.seen or listen.seen[-1].get("text", "").split(" ")[0] != "1":
            listen.wait_for("received")
        code, seen = listen.end()
        summary = seen[-1]
        self.assertEqual(code, 0)
        self.assertGreater(summary["drops"]["receive_queue_full"], 0)

    def test_joins_a_group(self):
        subprocess.run(["ip", "link", "set", "lo", "multicast", "on"], check=True)
        subprocess.run(["ip", "route", "replace", "239.0.0.0/8", "dev", "lo"], check=True)
        listen = Running("listen", "-n", 1, "--join", "239.1.2.3%lo", PORT)
        self.assertEqual(run("send", "-w", 0, "-i", "lo", "--data", "to all", "239.1.2.3", PORT)[0], 0)
        code, seen = listen.rest()
        (received,) = [each for each in seen if each["event"] == "received"]
        self.assertEqual((code, received["text"], received["local"], received["ttl"]), (0, "to all", f"239.1.2.3:{PORT}", 1))


class Failures(Command):
    def test_nobody_there_is_an_error_with_its_reason(self):
        code, output, complaint = run("send", "--data", "x", "127.0.0.1", 9)
        self.assertEqual((code, output), (1, ""))
        self.assertIn("127.0.0.1:9: refused, no program has this port", complaint)
        (error,) = events(run("send", "--data", "x", "--json", "127.0.0.1", 9)[1], "error")
        self.assertEqual((error["errno"], error["type"], error["code"], error["offender"]), (111, 3, 3, "127.0.0.1"))

    def test_silence_fails_a_ping_only(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", PORT))
            self.assertEqual(run("send", "-w", "10ms", "--data", "x", "127.0.0.1", PORT)[0], 0)
            self.assertEqual(run("send", "-w", "10ms", "--ping", "-n", 1, "127.0.0.1", PORT)[0], 1)

    def test_addresses_that_cannot_be_used(self):
        self.refuses(["send", "--data", "x", "192.0.2.1", 9], 1, "no route leads to 192.0.2.1:9")
        self.refuses(["send", "--data", "x", "host.invalid", 9], 1, 'cannot find the host "host.invalid"')
        self.refuses(["echo", "192.0.2.1", PORT], 1, "192.0.2.1 is no address of this host")
        self.refuses(["send", "--data", "x", "255.255.255.255", 9], 2, "with -b")
        self.refuses(["listen", "--join", "239.1.2.3%nowhere0", PORT], 1, 'there is no interface "nowhere0"')
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", PORT))
            self.refuses(["echo", "127.0.0.1", PORT], 1, "another socket has this port", f"ss -ulnp sport = {PORT}")


if __name__ == "__main__":
    enter_namespace()
    main()
