# Sourced by probe-module.sh and probe-script.sh: does what files in "$CONTROL" order for "$ACTION".
#
#   ACTION.fail           exit with the status it holds (empty: 1)
#   ACTION.fail-once      the same for the first call only
#   ACTION.hang           sleep until killed
#   ACTION.hang-hard      the same, ignoring SIGTERM
#   ACTION.escape         leave a process behind that ignores SIGTERM and has left session and parent; its id is in
#                         "$CONTROL/escaped.pid"; then go on
#   ACTION.kill-service   kill -9 the process whose id is in the file named inside, once, then sleep until it is gone
#   ACTION.terminate-service  the same with SIGTERM
#   ACTION.retry          holds a number: exit 21 that many times
#   ACTION.stderr         print it to stderr
#   ACTION.wait           wait while this file exists
# Every call is recorded as one line in "$CONTROL/calls" before anything else.

probe_record() { { [ -d "$CONTROL" ] || mkdir -p "$CONTROL"; } && echo "$1" >>"$CONTROL/calls"; }

probe_end_service() { # order file, signal
    pid_file=$(cat "$1")
    rm -f "$1"
    pid=$(cat "$pid_file")
    sync
    kill "-$2" "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        # A zombie nobody reaps is gone as well.
        case "$(cut -d')' -f2 "/proc/$pid/stat" 2>/dev/null)" in " Z"*) break ;; esac
        sleep 0.02
    done
}

probe_obey() {
    order="$CONTROL/$1"
    [ -f "$order.stderr" ] && cat "$order.stderr" >&2
    while [ -f "$order.wait" ]; do sleep 0.02; done
    [ -f "$order.escape" ] && "${HOLDPOINT_PROBE_LIB:-$(dirname "$(readlink -f "$0")")}/probe-escape.sh" "$CONTROL/escaped.pid" >/dev/null 2>&1
    [ -f "$order.kill-service" ] && probe_end_service "$order.kill-service" KILL
    [ -f "$order.terminate-service" ] && probe_end_service "$order.terminate-service" TERM
    if [ -f "$order.hang-hard" ]; then
        trap '' TERM
        while :; do sleep 1; done
    fi
    if [ -f "$order.hang" ]; then
        while :; do sleep 1; done
    fi
    if [ -f "$order.retry" ]; then
        left=$(cat "$order.retry")
        if [ "$left" -gt 0 ]; then
            echo $((left - 1)) >"$order.retry"
            exit 21
        fi
    fi
    if [ -f "$order.fail-once" ]; then
        status=$(cat "$order.fail-once")
        rm -f "$order.fail-once"
        exit "${status:-1}"
    fi
    if [ -f "$order.fail" ]; then
        status=$(cat "$order.fail")
        exit "${status:-1}"
    fi
    return 0
}
