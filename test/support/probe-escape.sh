#!/bin/sh
# Leaves session, parent and group behind, ignores SIGTERM, and writes its process id to "$1": what a badly made script
# may have started.
case "${2:-}" in
'') setsid "$0" "$1" in-between ;;
in-between) setsid "$0" "$1" last & ;;
last)
    trap '' TERM
    echo $$ >"$1.tmp" && mv "$1.tmp" "$1"
    while :; do sleep 1; done
    ;;
esac
