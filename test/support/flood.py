"""One client that calls without waiting for each answer: SECONDS RATE SUFFIX MEMBER ARGS. RATE: calls a second; 0 = as
fast as the service answers. SUFFIX MEMBER ARGS: interface behind io.holdpoint.Update1, method, and arguments as GVariant text. Prints JSON: calls
answered, seconds it took, and how often which error came ("" = a reply)."""
import json
import sys
import time

from gi.repository import Gio, GLib

seconds, rate = float(sys.argv[1]), float(sys.argv[2])
suffix, member, text = sys.argv[3], sys.argv[4], sys.argv[5]
# The bus lets a client wait for 128 replies.
AT_ONCE = 100
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
loop = GLib.MainLoop()
arguments = GLib.Variant.parse(None, text, None, None) if text else None
answers = {}
began = time.monotonic()
under_way = 0
sent = 0


def is_over():
    return time.monotonic() - began >= seconds


def call():
    global under_way, sent
    under_way += 1
    sent += 1
    bus.call("io.holdpoint.Update1", "/io/holdpoint/Update1", "io.holdpoint.Update1" + suffix, member,
             arguments, None, Gio.DBusCallFlags.NONE, 30000, None, answered)


def answered(source, result):
    global under_way
    under_way -= 1
    try:
        source.call_finish(result)
        name = ""
    except GLib.Error as error:
        name = Gio.DBusError.get_remote_error(error) or error.message
    answers[name] = answers.get(name, 0) + 1
    if rate == 0 and not is_over():
        call()
    elif is_over() and under_way == 0:
        loop.quit()


def keep_pace():
    if is_over():
        return GLib.SOURCE_REMOVE
    due = int((time.monotonic() - began) * rate) - sent
    for _ in range(min(due, AT_ONCE - under_way)):
        call()
    return GLib.SOURCE_CONTINUE


if rate == 0:
    for _ in range(AT_ONCE):
        call()
else:
    GLib.timeout_add(4, keep_pace)
    # Should nothing be under way when it is over.
    GLib.timeout_add(int(seconds * 1000) + 100, lambda: (under_way == 0 and loop.quit()) or under_way > 0)
loop.run()
print(json.dumps({"calls": sum(answers.values()), "seconds": time.monotonic() - began, "answers": answers}))
