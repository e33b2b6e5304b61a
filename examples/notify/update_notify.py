#!/usr/bin/python3
# SPDX-License-Identifier: 0BSD
"""Asks about updates through the notifications of any desktop: buttons for now, at the window and later; tells how it went."""
import sys
from pathlib import Path

from gi.repository import Gio, GLib

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
from holdpoint_update import Texts, Update, view  # noqa: E402

NOTIFICATIONS = ("org.freedesktop.Notifications", "/org/freedesktop/Notifications", "org.freedesktop.Notifications")


class Notifier:
    def __init__(self):
        self.texts = Texts()
        self.bus = Gio.bus_get_sync(Gio.BusType.SESSION)
        self.shown = 0  # Id of the notification on the screen, 0 = none.
        self.ticket = ""
        self.content = None
        self.last = None
        self.bus.signal_subscribe(None, NOTIFICATIONS[2], "ActionInvoked", NOTIFICATIONS[1], None, 0, self.invoked)
        self.bus.signal_subscribe(None, NOTIFICATIONS[2], "NotificationClosed", NOTIFICATIONS[1], None, 0, self.closed)
        self.update = Update(self.changed)

    def call(self, method, arguments):
        try:
            return self.bus.call_sync(*NOTIFICATIONS, method, arguments, None, 0, -1, None)
        except GLib.Error as error:
            print(f"update_notify: {method}: {error.message}", file=sys.stderr)
            return None

    def notify(self, title, lines, actions, urgency):
        pairs = [text for name in actions for text in (name, self.texts.get(f"ui.{name}"))]
        hints = {"urgency": GLib.Variant("y", urgency), "resident": GLib.Variant("b", True)}
        reply = self.call("Notify", GLib.Variant("(susssasa{sv}i)", (
            self.texts.get("ui.title"), self.shown, "software-update-available", title, "\n".join(lines), pairs, hints,
            0 if actions else -1)))
        self.shown = reply.unpack()[0] if reply else 0

    def changed(self):
        seen = view(self.update.properties, self.texts)
        if seen["is_asking"]:
            content = (seen["ticket"], seen["status"], seen["facts"], seen["waits"], seen["buttons"])
            if content != self.content:
                self.ticket, self.content = seen["ticket"], content
                self.notify(seen["status"], [*seen["facts"][-1:], seen["notes"], *seen["waits"]], seen["buttons"], 1)
        else:
            # Nothing is asked any more: a button that is left on the screen would only lead to "that has changed".
            if self.content is not None and self.shown:
                self.call("CloseNotification", GLib.Variant("(u)", (self.shown,)))
            self.ticket, self.content = "", None
        if self.update.properties is not None:
            # What was so before this program started is no news.
            if self.last is not None and seen["last"] not in ("", self.last):
                self.notify(seen["last"], seen["facts"][:1], [], 1)
            self.last = seen["last"]

    def invoked(self, _bus, _sender, _path, _interface, _signal, parameters):
        shown, name = parameters.unpack()
        answers = {"now": self.update.now, "window": self.update.at_window, "later": self.update.later}
        if shown == self.shown and self.ticket and name in answers:
            answers[name](self.ticket, self.refused)

    def closed(self, _bus, _sender, _path, _interface, _signal, parameters):
        if parameters.unpack()[0] == self.shown:
            self.shown = 0  # Closed without an answer is no answer: the update waits on.

    def refused(self, name):
        self.notify(self.texts.get(f"refusal.{name}"), [], [], 1)


if __name__ == "__main__":
    notifier = Notifier()
    GLib.MainLoop().run()
