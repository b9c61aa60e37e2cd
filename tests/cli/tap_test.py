"""send and echo of a host of ours on a TAP device, whose other end is the kernel's, in a network namespace that nobody else has."""
import socket
import subprocess
import threading

from gannet import Command, Running, enter_namespace, main, run, skip

PORT = 65433


def make_tap():
    made = subprocess.run(["ip", "tuntap", "add", "dev", "gannet1", "mode", "tap"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        skip(f"no TAP device: {made.stderr.strip()}")
    for command in (["address", "add", "10.7.0.1/24", "dev", "gannet1"], ["link", "set", "gannet1", "up"]):
        subprocess.run(["ip", *command], check=True)


class Tap(Command):
    def test_our_host_asks_a_program_of_the_kernels(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("10.7.0.1", PORT))
            server.settimeout(60)

            def echo_one():
                data, peer = server.recvfrom(1024)
                server.sendto(data, peer)
            thread = threading.Thread(target=echo_one)
            thread.start()
            code, output, complaint = run("send", "--via", "tap:gannet1,10.7.0.2/24", "-w", "20s", "--data", "from user space", "10.7.0.1", PORT)
            thread.join()
        self.assertEqual((code, output), (0, "from user space\n"), complaint)

    def test_the_kernel_asks_our_host(self):
        echo = Running("echo", "--via", "tap:gannet1,10.7.0.2/24", PORT)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(60)
            client.sendto(b"Hello, UDP server!", ("10.7.0.2", PORT))
            self.assertEqual(client.recvfrom(1024), (b"Hello, UDP server!", ("10.7.0.2", PORT)))
        code, seen = echo.end()
        summary = seen[-1]
        self.assertEqual((code, summary["event"], summary["datagrams_in"], summary["datagrams_out"]), (0, "summary", 1, 1))
        self.assertEqual((summary["counters"]["udp_in_datagrams"], summary["counters"]["udp_out_datagrams"]), (1, 1))

    def test_a_deleted_interface_ends_the_command(self):
        subprocess.run(["ip", "tuntap", "add", "dev", "gannet2", "mode", "tap"], check=True)
        echo = Running("echo", "--via", "tap:gannet2,10.8.0.2/24", PORT)
        subprocess.run(["ip", "link", "delete", "gannet2"], check=True)
        code, seen = echo.rest()
        self.assertEqual((code, [event["event"] for event in seen[-2:]]), (1, ["summary", "failed"]))
        self.assertIn("the TAP interface was deleted", seen[-1]["message"])


if __name__ == "__main__":
    enter_namespace()
    make_tap()
    main()
