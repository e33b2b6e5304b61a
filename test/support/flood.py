"""One client that calls as fast as the service answers, without waiting for each answer: SECONDS SUFFIX MEMBER ARGS.
SUFFIX MEMBER ARGS: interface behind io.holdpoint.Update1, method, and arguments as GVariant text. Prints JSON: calls
answered, seconds it took, and how often which error came ("" = a reply)."""
import json
import sys
import time

from gi.repository import Gio, GLib

seconds, suffix, member, text = float(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
# The bus lets a client wait for 128 replies.
AT_ONCE = 100
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
loop = GLib.MainLoop()
arguments = GLib.Variant.parse(None, text, None, None) if text else None
answers = {}
began = time.monotonic()
under_way = 0


def call():
    global under_way
    under_way += 1
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
    if time.monotonic() - began < seconds:
        call()
    elif under_way == 0:
        loop.quit()


for _ in range(AT_ONCE):
    call()
loop.run()
print(json.dumps({"calls": sum(answers.values()), "seconds": time.monotonic() - began, "answers": answers}))
