#!/bin/sh
# SPDX-License-Identifier: 0BSD
# Shows on the terminal what the update of this device does, and asks: now, at the window, or later. Waits for signals; no polling,
# no root. words.jq and the catalogues put it into words. Needs busctl (systemd), gdbus (libglib2.0-bin) and jq.
set -eu

NAME=io.holdpoint.Update1
OBJECT=/io/holdpoint/Update1
LATER_SECONDS=14400
FOLDER=$(dirname "$(readlink -f "$0")")
CATALOGUE=$FOLDER/../catalogue
language=${LANGUAGE:-${LC_ALL:-${LC_MESSAGES:-${LANG:-en}}}}
language=$(printf '%.2s' "$language")
[ -e "$CATALOGUE/$language.json" ] || language=en

words() { # words [KEY] : what busctl says, in words; or the message alone
  jq -n -r --arg key "${1-}" --slurpfile own "$CATALOGUE/$language.json" --slurpfile en "$CATALOGUE/en.json" -f "$FOLDER/words.jq"
}

say() { # below the line that shows how far it is
  printf '%s%s\n' "${far:+
}" "$1"
  far=
}

answer() { # answer METHOD ARGUMENT… ; a refusal is no end of the world
  if ! reply=$(gdbus call --system --dest "$NAME" --object-path "$OBJECT" --method "$NAME.$@" 2>&1); then
    error=$(printf '%s' "$reply" | sed -n "s/.*GDBus\.Error:\([A-Za-z0-9.]*\): .*/\1/p")
    say "$(words "refusal.${error##*.}")"
  fi
}

ask() {
  say "$keys"
  read -r number < /dev/tty || return 0
  # The ticket is that of the question. When it is no longer waited for, nothing is agreed to.
  case $(echo "$answers" | cut -d ' ' -f "${number:-0}" 2> /dev/null) in
    now) answer ContinueFull "$ticket" "{'now': <true>}" ;;
    window) answer Continue "$ticket" ;;
    later) answer Snooze "$ticket" $LATER_SECONDS ;;
    *) ask ;;
  esac
}

show() {
  view=$(busctl --system --auto-start=no --json=short call "$NAME" "$OBJECT" org.freedesktop.DBus.Properties GetAll s "$NAME" \
    2> /dev/null | words)
  { read -r ticket && read -r answers && read -r keys && read -r progress && text=$(cat); } <<END
$view
END
  [ "$text" = "$shown" ] || say "$text"
  [ "$progress" = "$far" ] || printf '\r%s\033[K' "$progress"
  shown=$text far=$progress
  [ "$ticket" != "$asked" ] || return 0
  asked=$ticket
  [ -z "$ticket" ] || ask
}

shown='' far='' asked=''
# Listens first and looks then, so that nothing is missed in between; a service that comes back is looked at again.
gdbus monitor --system --dest "$NAME" --object-path "$OBJECT" | while read -r line; do
  case $line in
    *'is owned by'* | *'does not have an owner'* | *.PropertiesChanged*) show ;;
  esac
done
