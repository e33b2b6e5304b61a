"""Runs a program on a terminal of its own and types for it.

Arguments: the program and its arguments. Standard input: JSON, a list of [text to wait for, text to type]. Prints JSON:
what was shown, and the exit status (128 + signal where one ended it).
"""
import json
import os
import pty
import select
import sys
import time

feed = json.load(sys.stdin)
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
shown = b""
seen = 0
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    if select.select([fd], [], [], 1)[0]:
        try:
            chunk = os.read(fd, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    if feed and feed[0][0].encode() in shown[seen:]:
        seen = len(shown)
        os.write(fd, feed.pop(0)[1].encode())
_, status = os.waitpid(pid, 0)
code = os.waitstatus_to_exitcode(status)
print(json.dumps({"shown": shown.decode(errors="replace"), "status": 128 - code if code < 0 else code}))
