#!/usr/bin/python3
# SPDX-License-Identifier: 0BSD
"""A window about the update of this device, in GTK 4: what comes, how far it is, who blocks, and now, at the window, or later."""
import sys
from pathlib import Path

import gi

gi.require_version("Gdk", "4.0")
gi.require_version("Gtk", "4.0")
from gi.repository import Gdk, Gtk, Pango  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
from holdpoint_update import Texts, Update, view  # noqa: E402

STYLE = b"""
window { background: #f6f7f9; color: #1c2330; }
.status { font-size: 26px; font-weight: bold; }
.facts, .waits, .last { font-size: 15px; }
.waits { color: #5a6577; }
.last { color: #8a3a1e; }
progressbar > trough, progressbar > trough > progress { min-height: 10px; border-radius: 5px; }
button { font-size: 16px; padding: 10px 18px; }
"""


class Window(Gtk.ApplicationWindow):
    def __init__(self, application):
        super().__init__(application=application, default_width=560, default_height=420)
        self.texts = Texts()
        self.set_title(self.texts.get("ui.title"))
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=14, margin_top=28, margin_bottom=28, margin_start=32,
                      margin_end=32)
        self.set_child(box)
        self.status = self.label(box, "status")
        self.facts = self.label(box, "facts")
        self.notes = self.label(box, "facts")
        self.bar = Gtk.ProgressBar(show_text=True)
        box.append(self.bar)
        self.waits = self.label(box, "waits")
        self.last = self.label(box, "last")
        self.problem = self.label(box, "last")
        self.buttons = Gtk.Box(spacing=12, halign=Gtk.Align.END, valign=Gtk.Align.END, vexpand=True)
        box.append(self.buttons)
        self.shown_buttons = None
        self.ticket = ""
        self.update = Update(self.show_update)
        self.show_update()

    @staticmethod
    def label(box, style):
        label = Gtk.Label(xalign=0, wrap=True, wrap_mode=Pango.WrapMode.WORD_CHAR, css_classes=[style])
        box.append(label)
        return label

    def show_update(self):
        if not hasattr(self, "update"):
            return
        seen = view(self.update.properties, self.texts)
        self.set(self.status, seen["status"])
        self.set(self.facts, "\n".join(seen["facts"]))
        self.set(self.notes, seen["notes"])
        self.set(self.waits, "\n".join(f"•  {text}" for text in seen["waits"]))
        self.set(self.last, seen["last"])
        self.bar.set_visible(seen["progress"] is not None)
        self.bar.set_fraction(seen["progress"] or 0)
        self.bar.set_text(seen["progress_text"])
        if seen["ticket"] != self.ticket:
            # Another question: what was said about the old one is no longer of interest.
            self.ticket = seen["ticket"]
            self.set(self.problem, "")
        self.show_buttons(seen["buttons"])

    @staticmethod
    def set(label, text):
        label.set_text(text)
        label.set_visible(text != "")

    def show_buttons(self, names):
        if names == self.shown_buttons:
            return
        self.shown_buttons = names
        while (child := self.buttons.get_first_child()) is not None:
            self.buttons.remove(child)
        for name in reversed(names):
            button = Gtk.Button(label=self.texts.get(f"ui.{name}"))
            if name == "now":
                button.add_css_class("suggested-action")
            button.connect("clicked", lambda _button, name=name: self.clicked(name))
            self.buttons.append(button)

    def clicked(self, name):
        ticket = self.ticket
        actions = {
            "now": lambda: self.update.now(ticket, self.refused),
            "window": lambda: self.update.at_window(ticket, self.refused),
            "later": lambda: self.update.later(ticket, self.refused),
            "check": lambda: self.update.check(self.refused),
        }
        actions[name]()

    def refused(self, name):
        self.set(self.problem, self.texts.get(f"refusal.{name}"))


def activate(application):
    provider = Gtk.CssProvider()
    provider.load_from_data(STYLE)
    Gtk.StyleContext.add_provider_for_display(Gdk.Display.get_default(), provider, Gtk.STYLE_PROVIDER_PRIORITY_APPLICATION)
    Window(application).present()


if __name__ == "__main__":
    app = Gtk.Application(application_id="io.holdpoint.example.Dialog")
    app.connect("activate", activate)
    sys.exit(app.run(None))
