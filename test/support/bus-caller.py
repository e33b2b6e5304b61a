"""A bus client under a test's command: one JSON object a line in, one a line out. It can stand for a desktop too: it then
offers polkit's authentication agent for a process of the same user, and the test plays the person at the dialogue."""
import json
import os
import sys
import traceback

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

NAME = "io.holdpoint.Update1"
PATH = "/io/holdpoint/Update1"
POLKIT = "org.freedesktop.PolicyKit1"
AGENT = """<node><interface name="org.freedesktop.PolicyKit1.AuthenticationAgent">
<method name="BeginAuthentication"><arg type="s" direction="in"/><arg type="s" direction="in"/>
<arg type="s" direction="in"/><arg type="a{ss}" direction="in"/><arg type="s" direction="in"/>
<arg type="a(sa{sv})" direction="in"/></method>
<method name="CancelAuthentication"><arg type="s" direction="in"/></method>
</interface></node>"""

bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
bus.set_exit_on_close(False)
loop = GLib.MainLoop()
dialogues = {}


def tell(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def call(command):
    message = Gio.DBusMessage.new_method_call(NAME, PATH, command["interface"], command["member"])
    if command["args"]:
        message.set_body(GLib.Variant.parse(None, command["args"], None, None))
    if command["isInteractive"]:
        message.set_flags(Gio.DBusMessageFlags.ALLOW_INTERACTIVE_AUTHORIZATION)

    def replied(connection, result):
        try:
            reply = connection.send_message_with_reply_finish(result)
        except GLib.Error as error:
            return tell(id=command["id"], error="lost", message=error.message)
        if reply.get_message_type() == Gio.DBusMessageType.ERROR:
            body = reply.get_body()
            return tell(id=command["id"], error=reply.get_error_name(), message=body.unpack()[0] if body else "")
        body = reply.get_body()
        tell(id=command["id"], error="", message="", reply=body.print_(False) if body else "()")

    flags = Gio.DBusSendMessageFlags.NONE
    bus.send_message_with_reply(message, flags, 2**31 - 1, None, replied)
    bus.flush_sync(None)


def agent_called(connection, sender, path, interface, method, args, invocation):
    if method == "BeginAuthentication":
        action, text, _icon, details, cookie, identities = args.unpack()
        dialogues[cookie] = invocation
        tell(dialogue="begin", cookie=cookie, action=action, message=text, details=details,
             identities=[identity[1].get("uid", -1) for identity in identities])
        return
    (cookie,) = args.unpack()
    invocation.return_value(None)
    tell(dialogue="cancel", cookie=cookie)
    close(cookie)


def close(cookie):
    invocation = dialogues.pop(cookie, None)
    if invocation is not None:
        invocation.return_value(None)


def register(pid, locale):
    node = Gio.DBusNodeInfo.new_for_xml(AGENT)
    bus.register_object("/agent", node.interfaces[0], agent_called, None, None)
    with open(f"/proc/{pid}/stat", encoding="utf8") as stat:
        start_time = int(stat.read().rpartition(")")[2].split()[19])
    process = {
        "pid": GLib.Variant("u", pid),
        "start-time": GLib.Variant("t", start_time),
        "uid": GLib.Variant("i", os.getuid()),
    }
    value = GLib.Variant("((sa{sv})ss)", (("unix-process", process), locale, "/agent"))
    bus.call_sync(POLKIT, "/" + POLKIT.replace(".", "/") + "/Authority", POLKIT + ".Authority",
                  "RegisterAuthenticationAgent", value, None, 0, 10000, None)
    tell(registered=True)


unread = b""


def commanded(descriptor, _condition):
    global unread
    chunk = os.read(descriptor, 65536)
    if chunk == b"":
        loop.quit()
        return False
    *lines, unread = (unread + chunk).split(b"\n")
    for line in lines:
        try:
            obey(json.loads(line))
        except Exception:
            traceback.print_exc()
            os._exit(1)
    return True


def obey(command):
    if command["do"] == "call":
        call(command)
    elif command["do"] == "register":
        register(command["pid"], command["locale"])
    elif command["do"] == "rename":
        with open("/proc/self/comm", "w", encoding="utf8") as comm:
            comm.write(command["name"])
        tell(renamed=True)
    elif command["do"] == "close":
        close(command["cookie"])


GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, commanded)
tell(ready=True, name=bus.get_unique_name(), pid=os.getpid())
loop.run()
