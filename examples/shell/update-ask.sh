#!/bin/sh
# SPDX-License-Identifier: 0BSD
# Asks on the terminal about each update: now, at the window, or later. Waits for signals; no polling, no root.
# Needs busctl (systemd) and gdbus (glib2.0-bin).
set -eu

NAME=io.holdpoint.Update1
OBJECT=/io/holdpoint/Update1

get() { # get PROPERTY : its value, without type and quotes; empty while there is no service
  busctl --system get-property "$NAME" "$OBJECT" "$NAME" "$1" 2>/dev/null | sed 's/^[^ ]* //; s/^"//; s/"$//'
}

answer() { # answer METHOD SIGNATURE ARGUMENT… : the reply, or why it was refused, which is no end of the world
  busctl --system call "$NAME" "$OBJECT" "$NAME" "$@" 2>&1 || :
}

ask() {
  ticket=$(get WaitTicket)
  [ -n "$ticket" ] && [ "$ticket" != "$answered" ] || return 0
  case " $(get Blockers) " in *'"consent"'*) ;; *) return 0 ;; esac
  answered=$ticket
  notes=$(get Deployment | sed -n 's/.*"release-notes" s "\([^"]*\).*/\1/p')
  [ -z "$notes" ] || printf '%b\n' "$notes"
  printf '%s (installed: %s) at %s: [n]ow, at the [w]indow, [l]ater? ' \
    "$(get ArtifactName)" "$(get CurrentArtifactName)" "$(get WaitPoint)"
  read -r choice < /dev/tty || return 0
  # The ticket is that of the question. When it is no longer waited for, nothing is agreed to.
  case $choice in
    n*) answer ContinueFull 'sa{sv}' "$ticket" 1 now b true ;;
    w*) answer Continue s "$ticket" ;;
    l*) answer Snooze su "$ticket" 14400 ;;
  esac
}

result() {
  text=$(get LastResult)
  why=$(get LastErrorName)
  printf 'The update has ended: %s%s\n' "$text" "${why:+ (${why##*.})}"
}

answered=
# Listens first and looks then, so that nothing is missed in between; a service that comes back is looked at again.
gdbus monitor --system --dest "$NAME" --object-path "$OBJECT" | while read -r line; do
  case $line in
    *'is owned by'* | *"$NAME.WaitStarted "*) ask ;;
    *"$NAME.DeploymentFinished "*) result ;;
    *'does not have an owner'*) answered= && echo 'The update service is not running' ;;
  esac
done
