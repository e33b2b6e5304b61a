#!/bin/sh
# The update module of trial-device.ts as a program: what really runs on the device lies in "$TRUTH". Called as `boot`, it
# is the boot loader. An order `ACTION.fail` in "$CONTROL" fails that call (probe-common.sh).
set -u
ACTION=$1
TREE=${2:-}
is() { [ "$(cat "$TRUTH/$1")" = "$2" ]; }
put() { echo "$2" >"$TRUTH/$1"; }
reboots() { ! is needs-reboot No; }

if [ "$ACTION" = boot ]; then
    if [ -f "$TRUTH/trial" ]; then
        put boots $(($(cat "$TRUTH/boots") + 1))
        if [ "$(cat "$TRUTH/boots")" -gt 1 ]; then
            put next old
            rm -f "$TRUTH/trial"
        fi
    fi
    cp "$TRUTH/next" "$TRUTH/running"
    exit 0
fi

echo "$ACTION" >>"$CONTROL/calls"
[ -f "$CONTROL/$ACTION.fail" ] && exit 1
case "$ACTION" in
NeedsArtifactReboot) cat "$TRUTH/needs-reboot" ;;
SupportsRollback) cat "$TRUTH/supports-rollback" ;;
ArtifactInstall)
    : >"$TREE/tmp/backup"
    put next new
    put boots 0
    if reboots; then
        is supports-rollback No || : >"$TRUTH/trial"
    else
        put running new
    fi
    ;;
ArtifactReboot | ArtifactRollbackReboot)
    "$REBOOT"
    sleep 600
    ;;
ArtifactVerifyReboot) is running new || exit 1 ;;
ArtifactCommit)
    is running new || exit 1
    rm -f "$TRUTH/trial"
    ;;
ArtifactRollback)
    [ -f "$TREE/tmp/backup" ] || exit 0
    put next old
    rm -f "$TRUTH/trial"
    reboots || put running old
    ;;
ArtifactVerifyRollbackReboot) is running old || exit 1 ;;
esac
exit 0
