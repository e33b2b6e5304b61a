"""Many clients in one process, each with a connection of its own, each holding an update at a point of its own choice.
Usage: COUNT POINT. Every second one has an application id. Says how many hold, then waits to be killed."""
import sys
import time

from gi.repository import Gio, GLib

count, point = int(sys.argv[1]), sys.argv[2]
address = Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM, None)
flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
clients = []
for number in range(count):
    client = Gio.DBusConnection.new_for_address_sync(address, flags, None, None)
    options = {"app-id": GLib.Variant("s", "app-%d" % number)} if number % 2 else {}
    client.call_sync(
        "io.holdpoint.Update1", "/io/holdpoint/Update1", "io.holdpoint.Update1.Holds", "AddHold",
        GLib.Variant("(assusa{sv})", ([point], "client %d" % number, 0, "keep-waiting", options)),
        None, Gio.DBusCallFlags.NONE, 20000, None,
    )
    clients.append(client)
print(len(clients), flush=True)
time.sleep(3600)
