#!/usr/bin/env bash
# Makes a fresh clone ready: npm packages by the lock file, Debian packages that are missing.
# HOLDPOINT_BASE: the list of packages, default scripts/packages.txt; HOLDPOINT_PACKAGES: a further one; a|b: whichever name the
# Debian has. Quiet when there is nothing to do. As root it installs; otherwise it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' || {
  echo "holdpoint: setting up: Node $(node --version) is too old, 20.19 or newer is needed" >&2
  exit 1
}

stamp=node_modules/.holdpoint-lock
if ! cmp -s package-lock.json "$stamp"; then
  echo "Installing npm packages …" >&2
  npm ci --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json "$stamp"
fi

missing=()
while read -r package; do
  case $package in '' | '#'*) continue ;; esac
  for name in ${package//|/ }; do
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$name" 2>/dev/null)" != 'ii ' ] || continue 2
  done
  missing+=("$package")
done < <(cat "${HOLDPOINT_BASE:-scripts/packages.txt}" ${HOLDPOINT_PACKAGES:+"$HOLDPOINT_PACKAGES"})
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "holdpoint: setting up: Debian packages are missing; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "Installing Debian packages: ${missing[*]} …" >&2
  export DEBIAN_FRONTEND=noninteractive
  [ -n "${HOLDPOINT_APT_UPDATED:-}" ] || apt-get update -qq >&2
  # No service of theirs is started: the tests bring their own, private ones.
  policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' > $policy && chmod +x $policy && made=1; fi
  wanted=()
  for package in "${missing[@]}"; do
    for name in ${package//|/ }; do
      if apt-cache show "$name" > /dev/null 2>&1 || [ "$name" = "${package##*|}" ]; then wanted+=("$name") && break; fi
    done
  done
  apt-get install -y -qq --no-install-recommends "${wanted[@]}" > /tmp/holdpoint-apt.log 2>&1 || {
    tail -20 /tmp/holdpoint-apt.log >&2
    [ -z "$made" ] || rm -f $policy
    exit 1
  }
  [ -z "$made" ] || rm -f $policy
fi
