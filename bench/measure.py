"""Runs one program and writes what it used, as JSON: measure.py RESULT OUTPUT PROGRAM ARGUMENT...

From the start of the program to its end, without the start of this wrapper. max_rss_kib is the largest resident
size of any one process among the program and the children it waited for (wait4(2)).
"""

import json
import os
import signal
import sys
import time

result, output, *command = sys.argv[1:]
flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
actions = [
    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
    (os.POSIX_SPAWN_OPEN, 2, output, flags, 0o600),
]
started = time.monotonic_ns()
pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
# Whoever ends the measuring ends what is measured.
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
_, status, usage = os.wait4(pid, 0)
elapsed = time.monotonic_ns() - started
with open(result, "w") as file:
    json.dump(
        {
            "status": os.waitstatus_to_exitcode(status),
            "wall_ms": elapsed / 1e6,
            "cpu_ms": (usage.ru_utime + usage.ru_stime) * 1000,
            "max_rss_kib": usage.ru_maxrss,
        },
        file,
    )
