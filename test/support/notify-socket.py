#!/usr/bin/env python3
"""A service manager for one service: listens where NOTIFY_SOCKET points, and prints a line for each message, and
"missed" when no sign of life came for as long as it watches. Closes what it is sent, so that barriers pass."""
import array, os, socket, sys, time

path, period = sys.argv[1], float(sys.argv[2])
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(path)
print("ready", flush=True)
last = None
while True:
    server.settimeout(None if last is None else max(0.001, last + period - time.monotonic()))
    try:
        message, ancillary, _, _ = server.recvmsg(4096, socket.CMSG_SPACE(64))
    except TimeoutError:
        print("missed", flush=True)
        last = None
        continue
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            for fd in fds:
                os.close(fd)
    lines = message.decode().split("\n")
    if "WATCHDOG=1" in lines:
        last = time.monotonic()
    print(" ".join(line for line in lines if line), flush=True)
