#!/usr/bin/python3
"""The real upowerd on a device whose mains and battery are made up. Run by umockdev-wrapper.

Reads lines `ONLINE PERCENT` (1 or 0; 0 to 100, or "none" for no battery), answers each with `done`. upowerd ends with
us.
"""

import os
import subprocess
import sys

import gi

gi.require_version("UMockdev", "1.0")
from gi.repository import UMockdev  # noqa: E402

FULL_UWH = 60_000_000

testbed = UMockdev.Testbed.new()
mains = testbed.add_device("power_supply", "AC", None, ["type", "Mains", "online", "1"], [])
battery = testbed.add_device(
    "power_supply",
    "BAT0",
    None,
    [
        *("type", "Battery", "present", "1", "status", "Charging", "voltage_now", "12000000"),
        *("energy_full", str(FULL_UWH), "energy_full_design", str(FULL_UWH)),
        *("energy_now", str(FULL_UWH * 8 // 10)),
    ],
    [],
)
environment = dict(
    os.environ, LD_PRELOAD="libumockdev-preload.so.0", UMOCKDEV_DIR=testbed.get_root_dir()
)
daemon = subprocess.Popen(
    ["setpriv", "--pdeathsig", "KILL", "/usr/libexec/upowerd"], env=environment
)
print("ready", flush=True)
for line in sys.stdin:
    online, percent = line.split()
    testbed.set_attribute(mains, "online", online)
    testbed.set_attribute(battery, "present", "0" if percent == "none" else "1")
    testbed.set_attribute(battery, "status", "Charging" if online == "1" else "Discharging")
    if percent != "none":
        testbed.set_attribute(battery, "energy_now", str(FULL_UWH * int(percent) // 100))
    testbed.uevent(mains, "change")
    testbed.uevent(battery, "change")
    print("done", flush=True)
daemon.kill()
