#!/usr/bin/python3
# SPDX-License-Identifier: 0BSD
"""Lets the page of a web kiosk on this device show and answer updates.

Serves index.html on the loopback address; the page follows by server-sent events. Who wants anything needs the token, which is
printed as part of the page's address, and must call the bridge by its own address, so that no other page can use it.
    bridge.py [--port N]
"""
import argparse
import hmac
import json
import queue
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from gi.repository import GLib

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "python"))
from holdpoint_update import Texts, Update, view  # noqa: E402

TOKEN = secrets.token_urlsafe(24)
MAX_BODY = 1024
MAX_LISTENERS = 8
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
FILES = {"/": ("index.html", "text/html"), "/page.js": ("page.js", "text/javascript"), "/page.css": ("page.css", "text/css")}


class Bridge:
    """Between the main loop, in which D-Bus is, and the threads that serve the page."""

    def __init__(self):
        self.lock = threading.Lock()
        self.listeners = set()
        self.problem = ("", "")  # Ticket of the question it is shown beside, refusal.
        self.text = ""
        self.texts = Texts()
        self.update = Update(self.changed)
        self.changed()

    def changed(self):
        if not hasattr(self, "update"):
            return
        seen = view(self.update.properties, self.texts)
        ticket, problem = self.problem
        labels = {name: self.texts.get(f"ui.{name}") for name in seen["buttons"]}
        text = json.dumps({**seen, "labels": labels, "language": self.texts.language,
                           "problem": problem if ticket == seen["ticket"] else ""})
        with self.lock:
            self.text = text
            for listener in self.listeners:
                listener.put(text)

    def listen(self):
        listener = queue.SimpleQueue()
        with self.lock:
            if len(self.listeners) >= MAX_LISTENERS:
                return None
            self.listeners.add(listener)
            listener.put(self.text)
        return listener

    def forget(self, listener):
        with self.lock:
            self.listeners.discard(listener)

    def answer(self, name, ticket):
        def refused(error):
            # Shown beside whatever the page shows by now, until that is another question.
            self.problem = ((self.update.properties or {}).get("WaitTicket", ""), self.texts.get(f"refusal.{error}"))
            self.changed()
        actions = {"now": lambda: self.update.now(ticket, refused), "window": lambda: self.update.at_window(ticket, refused),
                   "later": lambda: self.update.later(ticket, refused), "check": lambda: self.update.check(refused)}
        if name not in actions:
            return False
        GLib.idle_add(lambda: actions[name]() and False)
        return True


class Handler(BaseHTTPRequestHandler):
    timeout = 30
    protocol_version = "HTTP/1.1"

    def reply(self, status, body=b"", kind="text/plain"):
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def is_refused(self, token):
        """By another name this is another page's request (DNS rebinding); without the token it is anybody's."""
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        own = f"127.0.0.1:{self.server.server_port}"
        if host != own or (origin is not None and origin != f"http://{own}") or not hmac.compare_digest(token, TOKEN):
            self.close_connection = True
            self.reply(403)
            return True
        return False

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path in FILES:
            name, kind = FILES[url.path]
            return self.reply(200, (FOLDER / name).read_bytes(), kind)
        if url.path != "/events":
            return self.reply(404)
        if self.is_refused(parse_qs(url.query).get("token", [""])[0]):
            return None
        return self.events()

    def events(self):
        listener = bridge.listen()
        if listener is None:
            return self.reply(503)
        self.close_connection = True
        self.send_response(200)
        for name, value in {**HEADERS, "Content-Type": "text/event-stream"}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            while True:
                try:
                    text = listener.get(timeout=20)
                    self.wfile.write(f"data: {text}\n\n".encode())
                except queue.Empty:
                    self.wfile.write(b": still here\n\n")  # Finds out whether the page is.
        except OSError:
            pass
        finally:
            bridge.forget(listener)
        return None

    def do_POST(self):
        if self.is_refused(self.headers.get("X-Token", "")):
            return None
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 < length <= MAX_BODY:
                raise ValueError
            order = json.loads(self.rfile.read(length))
            name, ticket = str(order["answer"]), str(order["ticket"])
        except (ValueError, KeyError, TypeError):
            self.close_connection = True
            return self.reply(400)
        return self.reply(202 if self.path == "/answer" and bridge.answer(name, ticket) else 404)

    def log_message(self, *_):
        pass  # Requests carry the token.


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 = any that is free")
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler)
    server.daemon_threads = True
    bridge = Bridge()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Behind the #, where a browser keeps it to itself.
    print(f"http://127.0.0.1:{server.server_port}/#{TOKEN}", flush=True)
    GLib.MainLoop().run()
