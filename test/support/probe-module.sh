#!/bin/sh
# An update module for tests (protocol version 3): records its calls and obeys orders, see probe-common.sh.
# Control folder: $HOLDPOINT_PROBE_DIR, else the path of this program + ".control".
#
#   ProvidePayloadFileSizes.answer, NeedsArtifactReboot.answer, SupportsRollback.answer   printed as they are
#   stream                present: Download reads the streams into "$CONTROL/received/"; else files/ is used
#   announced             (written) the lines read from stream-next
# Orders for Download hold for DownloadWithFileSizes too, and are obeyed before the first read;
# Download-middle.* after the first line of stream-next was read.
# ArtifactInstall copies files/ to "$CONTROL/received/" when there are any.
set -u
ACTION=$1
TREE=$2
CONTROL=${HOLDPOINT_PROBE_DIR:-$0.control}
. "${HOLDPOINT_PROBE_LIB:-$(dirname "$(readlink -f "$0")")}/probe-common.sh"
probe_record "$ACTION"
case "$ACTION" in
Download | DownloadWithFileSizes)
    probe_obey Download
    [ -f "$CONTROL/stream" ] || exit 0
    mkdir -p "$CONTROL/received"
    while :; do
        line=$(cat stream-next)
        [ -n "$line" ] || break
        echo "$line" >>"$CONTROL/announced"
        probe_obey Download-middle
        path=$line
        [ "$ACTION" = DownloadWithFileSizes ] && path=${line% *}
        cat "$path" >"$CONTROL/received/${path#streams/}" || exit 1
    done
    ;;
*)
    probe_obey "$ACTION"
    [ -f "$CONTROL/$ACTION.answer" ] && cat "$CONTROL/$ACTION.answer"
    if [ "$ACTION" = ArtifactInstall ] && [ -d "$TREE/files" ]; then
        mkdir -p "$CONTROL/received" && cp -a "$TREE/files/." "$CONTROL/received/" || exit 1
    fi
    ;;
esac
exit 0
