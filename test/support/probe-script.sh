#!/bin/sh
# A state script for tests: install it under any state script name. Records its name and obeys orders for it, see
# probe-common.sh; orders may be given for the whole name (Sync_Enter_00_x) or the action (Sync_Enter).
# Control folder: $HOLDPOINT_PROBE_DIR, else the scripts folder + ".control". Self-contained when
# $HOLDPOINT_PROBE_LIB names the folder of probe-common.sh (scripts inside artifacts are copied away from it).
set -u
NAME=${0##*/}
CONTROL=${HOLDPOINT_PROBE_DIR:-$(dirname "$0").control}
. "${HOLDPOINT_PROBE_LIB:-$(dirname "$(readlink -f "$0")")}/probe-common.sh"
probe_record "$NAME"
probe_obey "$NAME"
REST=${NAME#*_}
probe_obey "${NAME%%_*}_${REST%%_*}"
exit 0
