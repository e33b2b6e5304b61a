# SPDX-License-Identifier: 0BSD
"""The update of this device, for frontends in Python: follows io.holdpoint.Update1 on D-Bus and puts it into words.

No polling: everything comes as signals. Start late, let the service restart, let the bus vanish: the view is right as soon as the
service is there, and says so while it is not. Needs python3-gi. No rights but those for "continue" are needed to answer.
"""
import json
import os
import time
from pathlib import Path

from gi.repository import Gio, GLib

NAME = "io.holdpoint.Update1"
PATH = "/io/holdpoint/Update1"
PROPERTIES = "org.freedesktop.DBus.Properties"
LATER_SECONDS = 4 * 3600


class Texts:
    """Messages of one language by key; a key that is not there is looked up as `family.*`, and then in English."""

    def __init__(self, language=None, folder=Path(__file__).resolve().parent.parent / "catalogue"):
        wanted = language or next(
            filter(None, (os.environ.get(name) for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"))), "en")
        known = Path(folder) / f"{wanted[:2]}.json"
        english = self._load(Path(folder) / "en.json")
        self._layers = [self._load(known), english] if known.exists() else [english]
        self.language = wanted[:2] if known.exists() else "en"

    @staticmethod
    def _load(path):
        return json.loads(path.read_text(encoding="utf-8"))["messages"]

    def has(self, key):
        return any(key in layer for layer in self._layers)

    def get(self, key, **values):
        for name in (key, key.split(".")[0] + ".*"):
            for layer in self._layers:
                if name in layer:
                    return layer[name].format_map(values)
        return key

    def number(self, value):
        return f"{value:.1f}".replace(".", self.get("ui.decimal"))


class Update:
    """`properties`: those of io.holdpoint.Update1, or None while there is no service. `on_change` is called after each change."""

    def __init__(self, on_change):
        self.properties = None
        self._on_change = on_change
        self._bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
        self._bus.signal_subscribe(NAME, PROPERTIES, "PropertiesChanged", PATH, NAME, Gio.DBusSignalFlags.NONE, self._changed)
        Gio.bus_watch_name_on_connection(
            self._bus, NAME, Gio.BusNameWatcherFlags.NONE, lambda *_: self._read(), lambda *_: self._show(None))

    def _read(self):
        def done(bus, result):
            try:
                self._show(bus.call_finish(result).unpack()[0])
            except GLib.Error:
                self._show(None)  # It has gone again; its return is told.
        self._bus.call(NAME, PATH, PROPERTIES, "GetAll", GLib.Variant("(s)", (NAME,)), None, 0, -1, None, done)

    def _changed(self, _bus, _sender, _path, _interface, _signal, parameters):
        # Before the first answer of GetAll nothing is known; what comes until then is in that answer.
        if self.properties is not None:
            self._show({**self.properties, **parameters.unpack()[1]})

    def _show(self, properties):
        self.properties = properties
        self._on_change()

    def _call(self, method, arguments, on_error):
        def done(bus, result):
            try:
                bus.call_finish(result)
            except GLib.Error as error:
                name = Gio.DBusError.get_remote_error(error) or ""
                on_error(name.rsplit(".", 1)[-1])
        self._bus.call(NAME, PATH, NAME, method, arguments, None, Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION, -1, None, done)

    # Each answers one question: the ticket is that of the view the person saw, so an old click approves nothing.

    def now(self, ticket, on_error):
        self._call("ContinueFull", GLib.Variant("(sa{sv})", (ticket, {"now": GLib.Variant("b", True)})), on_error)

    def at_window(self, ticket, on_error):
        self._call("Continue", GLib.Variant("(s)", (ticket,)), on_error)

    def later(self, ticket, on_error, seconds=LATER_SECONDS):
        self._call("Snooze", GLib.Variant("(su)", (ticket, seconds)), on_error)

    def check(self, on_error):
        self._call("CheckForUpdate", None, on_error)


def clock(usec):
    """Local time of a moment, with its day when that is not today; '' = unknown."""
    if usec <= 0:
        return ""
    moment, today = time.localtime(usec / 1e6), time.localtime()
    return time.strftime("%H:%M" if moment[:3] == today[:3] else "%d.%m. %H:%M", moment)


def blocker_text(blocker, texts):
    _id, kind, owner, reason, details = blocker
    key = f"reason.{reason}" if texts.has(f"reason.{reason}") else f"blocker.{kind}"
    text = texts.get(key, owner=owner, why=details.get("why", ""))
    if details.get("end-usec", 0) > 0:
        return f"{text}, {texts.get('ui.until', time=clock(details['end-usec']))}"
    if details.get("expected-end-usec", 0) > 0:
        return f"{text}, {texts.get('ui.expected', time=clock(details['expected-end-usec']))}"
    return text


def view(properties, texts):
    """What a frontend shows, in words: a dictionary of strings, lists of strings, and numbers."""
    if properties is None:
        return {"title": texts.get("ui.title"), "status": texts.get("ui.no-service"), "facts": [], "waits": [], "progress": None,
                "progress_text": "", "ticket": "", "buttons": [], "last": "", "notes": "", "is_asking": False}
    p = properties
    is_waiting, ticket = p["WaitPoint"] != "", p["WaitTicket"]
    # Asked is who can answer: while only others block there is nothing to say yes to.
    is_asking = ticket != "" and any(kind == "consent" for _, kind, _, _, _ in p["Blockers"])
    facts = [texts.get("ui.installed", name=p["CurrentArtifactName"])]
    if p["ArtifactName"]:
        size = p["Deployment"].get("size-bytes", -1)
        size_text = "" if size < 0 else f" ({texts.get('ui.size', size=texts.number(size / 1e6))})"
        facts.append(texts.get("ui.update", name=p["ArtifactName"]) + size_text)
    waits = [blocker_text(blocker, texts) for blocker in p["Blockers"]]
    if is_waiting and p["WaitDeadlineUSec"] > 0:
        waits.append(texts.get(f"ui.then-{p['WaitOnExpire']}", time=clock(p["WaitDeadlineUSec"])))
    buttons = []
    if is_asking:
        buttons.append("now")
        if any(details.get("skippable", False) for *_, details in p["Blockers"]):
            buttons.append("window")
        if "snooze" in p["AllowedActions"]:
            buttons.append("later")
    elif "check" in p["AllowedActions"] and not p["DeploymentId"]:
        buttons.append("check")
    status = texts.get(f"point.{p['WaitPoint']}") if is_asking else texts.get(f"activity.{p['Activity']}")
    return {"title": texts.get("ui.title"), "status": status, "facts": facts, "waits": waits, "ticket": ticket,
            "notes": p["Deployment"].get("release-notes", ""), "progress": p["Progress"] / 100 if p["Progress"] >= 0 else None,
            "progress_text": progress_text(p, texts), "buttons": buttons, "last": last_text(p, texts), "is_asking": is_asking}


def progress_text(p, texts):
    if p["Progress"] < 0:
        return ""
    parts = [texts.get("ui.progress", percent=int(p["Progress"]))]
    left = p["RemainingSeconds"]
    if left >= 90:
        parts.append(texts.get("ui.remaining-minutes", n=round(left / 60)))
    elif left >= 0:
        parts.append(texts.get("ui.remaining-seconds", n=left))
    return ", ".join(parts)


def last_text(p, texts):
    if p["LastResult"] == "none":
        return ""
    text = texts.get("ui.last", result=texts.get(f"result.{p['LastResult']}"))
    failure = p["LastErrorName"].rsplit(".", 1)[-1]
    return f"{text}. {texts.get(f'failure.{failure}')}" if failure else text
