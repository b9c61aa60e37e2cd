"""The demonstration runs to its end, with the kernel's programs and our host on a TAP device in a namespace."""
from gannet import check_shown, demo, skip

code, text, complaint, size = demo()
if text.startswith("No network namespace"):
    skip(text.splitlines()[0])
check_shown(code, text, complaint, size, (
    r"Received from server \('10\.7\.0\.2', 65433\): Hello, UDP server!",
    r"nc got: hello from nc",
    r"3 received, 0% packet loss",
    r"came back whole",
    r"was answered by 10\.7\.0\.2",
    r"heard by the kernel's member and answered by ours",
    r"ConnectionRefusedError",
    r"1000 answered",
    r"-> ARP, Request who-has 10\.7\.0\.2",
    r"UDP, length 18",
    r"round trip +min",
    r"dropped +\d+ udp_no_socket: ",
))
