#!/usr/bin/python3
"""Update control through io.mender.Update1, written from spec/dbus-mender.md sections 1 and 3 alone.

Stops every update before ArtifactInstall, ArtifactReboot and ArtifactCommit, keeps its map alive by sending it again one
second before the returned time is over, and lets the update go on gate by gate as it is told. Root only; finds the bus
as every program does (DBUS_SYSTEM_BUS_ADDRESS, else the system bus). Needs python3-pydbus.

Commands, one a line on standard input:
  next               the first gate that is still paused: continue
  GATE ACTION        install, reboot or commit; continue, force_continue, pause or fail
  remove             take the map away, keep running
  quit               end and leave the map to expire; the end of the input too

Prints one JSON object a line: {"event": "set" | "refreshed" | "removed", "refresh_timeout": seconds, "states": {...}},
or {"event": "error", "name": ..., "text": ...}. A refresh time of 0 is an error: such a map expires at once. Ends with
status 1 after an error when the map was first set, else goes on and tries again at the next refresh.
"""
import argparse
import json
import sys
import uuid

from gi.repository import Gio, GLib
from pydbus import SystemBus

GATES = {
    "install": "ArtifactInstall_Enter",
    "reboot": "ArtifactReboot_Enter",
    "commit": "ArtifactCommit_Enter",
}
ACTIONS = ("continue", "force_continue", "pause", "fail")
RETRY_SECONDS = 10


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Control:
    def __init__(self, options):
        self.map_id = options.id
        self.priority = options.priority
        self.on_map_expire = options.on_map_expire
        self.speed = options.speed
        self.actions = {gate: "pause" for gate in GATES}
        self.timer = 0
        self.has_failed = False
        self.loop = GLib.MainLoop()
        proxy = SystemBus().get("io.mender.UpdateManager", "/io/mender/UpdateManager")
        self.manager = proxy["io.mender.Update1"]

    def states(self):
        states = {}
        for gate, action in self.actions.items():
            state = {"action": action}
            if action == "pause" and self.on_map_expire:
                state["on_map_expire"] = self.on_map_expire
            states[GATES[gate]] = state
        return states

    def send(self, event, states=None):
        """Whether the service took it."""
        if self.timer:
            GLib.source_remove(self.timer)
            self.timer = 0
        states = self.states() if states is None else states
        text = json.dumps({"id": self.map_id, "priority": self.priority, "states": states})
        try:
            seconds = self.manager.SetUpdateControlMap(text)
        except GLib.Error as error:
            say("error", name=Gio.DBusError.get_remote_error(error) or "", text=error.message)
            self.arm(RETRY_SECONDS)
            return False
        if seconds <= 0:
            say("error", name="", text="the refresh time is %d: the map expires at once" % seconds)
            return False
        say(event, refresh_timeout=seconds, states=states)
        if event != "removed":
            self.arm(seconds)
        return True

    def arm(self, seconds):
        # A second early; of a time that short, half of it.
        wait = max(seconds - 1, seconds / 2) / self.speed
        self.timer = GLib.timeout_add(max(1, int(wait * 1000)), self.refresh)

    def refresh(self):
        self.timer = 0
        self.send("refreshed")
        return GLib.SOURCE_REMOVE

    def obey(self, line):
        words = line.split()
        if words == ["quit"]:
            return False
        if words == ["remove"]:
            self.send("removed", {})
        elif words == ["next"]:
            paused = [gate for gate, action in self.actions.items() if action == "pause"]
            if paused:
                self.actions[paused[0]] = "continue"
                self.send("set")
            else:
                say("error", name="", text="no gate is paused any more")
        elif len(words) == 2 and words[0] in GATES and words[1] in ACTIONS:
            self.actions[words[0]] = words[1]
            self.send("set")
        else:
            say("error", name="", text="unknown command: %r" % line.strip())
        return True

    def run(self):
        if not self.send("set"):
            return 1
        # Unbuffered: a line left in Python's buffer would not wake the main loop.
        channel = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
        lines = LineReader(channel)
        GLib.io_add_watch(channel.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, self.on_input, lines)
        self.loop.run()
        return 0

    def on_input(self, _fd, _condition, lines):
        for line in lines.read():
            if line is None or not self.obey(line):
                self.loop.quit()
                return GLib.SOURCE_REMOVE
        return GLib.SOURCE_CONTINUE


class LineReader:
    """Whole lines out of what has arrived, and None at the end."""

    def __init__(self, channel):
        self.channel = channel
        self.rest = b""

    def read(self):
        data = self.channel.read(65536)
        if not data:
            return [None]
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]


def main():
    parser = argparse.ArgumentParser(description="Pauses updates through io.mender.Update1.")
    parser.add_argument("--id", default=str(uuid.uuid4()), help="of the map; default: a new one")
    parser.add_argument("--priority", type=int, default=0)
    parser.add_argument("--on-map-expire", default="", choices=("", "continue", "force_continue", "fail"))
    parser.add_argument("--speed", type=float, default=1, help="refresh so many times as often; for tests")
    try:
        return Control(parser.parse_args()).run()
    except GLib.Error as error:
        say("error", name=Gio.DBusError.get_remote_error(error) or "", text=error.message)
        return 1


if __name__ == "__main__":
    sys.exit(main())
