"""What is typed wrong gets one clear sentence and exit status 2, before anything is opened."""
import json

from gannet import Command, events, main, run


class Usage(Command):
    def test_help_teaches_every_command(self):
        code, text, _ = run("--help")
        self.assertEqual(code, 0)
        for command in "send", "listen", "echo", "print", "explain", "run", "stat", "hub", "peers":
            self.assertIn(command, text)
            code, text_of_command, complaint = run(command, "--help")
            self.assertEqual((code, complaint), (0, ""))
            self.assertIn("Usage: gannet " + command, text_of_command)
        for command in "send", "listen", "echo", "print", "explain", "run", "stat", "hub", "peers":
            self.assertIn("Examples:\n  gannet " + command, run(command, "--help")[1])

    def test_version(self):
        code, text, complaint = run("--version")
        self.assertEqual((code, complaint), (0, ""))
        self.assertRegex(text, r"\Agannet \d+\.\d+\.\d+( \(\S+\))?\n\Z")

    def test_no_command_or_an_unknown_one(self):
        self.refuses([], 2, "gannet --help")
        self.refuses(["sned"], 2, 'no command "sned"', "did you mean send?")
        self.refuses(["--verbose"], 2, "--verbose stands before any command")

    def test_unknown_options_name_the_nearest(self):
        self.refuses(["send", "--intreval", "5", "127.0.0.1", "9"], 2, "send: there is no option --intreval", "did you mean --interval?")
        self.refuses(["echo", "--bogus", "9"], 2, "no option --bogus", "--help lists them")
        self.refuses(["echo", "--zzzzzzzz", "9"], 2, "no option --zzzzzzzz", "--help lists them")

    def test_missing_and_superfluous_arguments(self):
        self.refuses(["send", "127.0.0.1"], 2, "PORT is missing")
        self.refuses(["send"], 2, "HOST is missing")
        self.refuses(["send", "127.0.0.1", "9", "hello"], 2, '"hello" is one argument too many')
        self.refuses(["echo", "1", "2", "3"], 2, "too much was given for [ADDRESS] PORT")
        self.refuses(["echo", "9", "--count"], 2, "--count needs a value")

    def test_values_out_of_range(self):
        self.refuses(["send", "127.0.0.1", "65536"], 2, "PORT takes a whole number from 1 to 65535")
        self.refuses(["echo", "-1"], 2)
        self.refuses(["send", "-M", "256", "127.0.0.1", "9"], 2, "--ttl takes a whole number from 1 to 255")
        self.refuses(["send", "-T", "ef9", "127.0.0.1", "9"], 2, "--tos takes 0 to 255")
        self.refuses(["send", "-w", "soon", "127.0.0.1", "9"], 2, "--timeout takes a time such as 80ms")
        self.refuses(["listen", "--join", "10.0.0.1", "9"], 2, "--join takes GROUP[@SOURCE][%INTERFACE]")
        self.refuses(["send", "-n", "0", "127.0.0.1", "9"], 2, "--count takes a whole number, 1 or more")
        self.refuses(["echo", "-I", "0", "9"], 2, "--receive-buffer takes")
        self.refuses(["send", "--pace", "1bit", "127.0.0.1", "9"], 2, "--pace takes from 8bit to 17Gbit")

    def test_peers(self):
        self.refuses(["peers", "--role", "sensor"], 2, "--role is about who is announced: --announce NAME")
        self.refuses(["peers", "--group", "10.0.0.1"], 2, "--group takes")
        self.refuses(["peers", "--seed", "nowhere"], 2, "--seed takes an address such as 192.0.2.5")
        self.refuses(["peers", "--announce", "a", "--meta", "novalue"], 2, "--meta takes KEY=VALUE")
        self.refuses(["peers", "--announce", "a" * 64], 2, "up to 63 bytes")
        self.refuses(["peers", "--announce", "a", "--meta", "k=" + "v" * 513], 2, "up to 512 bytes")
        self.refuses(["peers", "--no-multicast"], 2, "nobody to ask")
        self.refuses(["peers", "--interface", "nosuch0"], 1, "interface", "ip link")
        self.refuses(["peers", "--via", "memory"], 2, "peers has nobody to hear on --via memory")

    def test_contradictions(self):
        self.refuses(["send", "--data", "x", "--size", "5", "127.0.0.1", "9"], 2, "give one of --data, --file and --size")

    def test_json_says_it_too(self):
        code, output, complaint = run("send", "127.0.0.1", "99999", "--json")
        self.assertEqual(code, 2)
        (failed,) = events(output)
        self.assertEqual((failed["event"], failed["status"]), ("failed", 2))
        self.assertEqual(complaint, f"gannet: {failed['message']}\n")


class Explain(Command):
    def test_every_reason_has_a_meaning(self):
        code, text, _ = run("explain")
        self.assertEqual(code, 0)
        self.assertIn("receive_queue_full", text)
        for line in text.splitlines():
            self.assertRegex(line, r"^[a-z_0-9]+ +\S.+")

    def test_one_reason(self):
        code, text, _ = run("explain", "udp_no_socket")
        self.assertEqual(code, 0)
        self.assertRegex(text, r"\Audp_no_socket: no socket is bound to the destination port and address\n  what to do: start the receiver first.+\n\Z")
        reason = json.loads(run("explain", "udp_no_socket", "--json")[1])
        self.assertEqual((reason["name"], reason["remedy"] in text), ("udp_no_socket", True))

    def test_every_reason_has_a_remedy(self):
        for reason in events(run("explain", "--json")[1], "reason"):
            self.assertGreater(len(reason["remedy"]), 20, reason["name"])

    def test_a_reason_of_a_beacons(self):
        self.assertRegex(run("explain", "tag_wrong")[1], r"\Atag_wrong: .+\n  what to do: give both sides the same key.+\n\Z")

    def test_an_unknown_reason(self):
        self.refuses(["explain", "udp_no_sokcet"], 2, "did you mean udp_no_socket?")


if __name__ == "__main__":
    main()
