"""The demonstration runs to its end without any privilege, on kernel sockets and on a wire in memory."""
from gannet import check_shown, demo

check_shown(*demo("--without-namespace"), (
    r"Received from server",
    r"1 sent, 1 answered by 10\.7\.0\.2:65433",
    r"UDP, length 18",
    r"round trip +min",
    r"dropped +\d+ fault_loss: ",
))
