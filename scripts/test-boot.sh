#!/usr/bin/env bash
# `npm run test:boot`: own set-up, then updates of machines that boot, with power cuts. Needs root, and for the first run
# the Debian mirror. KVM where it runs a kernel, emulation otherwise: never skipped.
#   --slice    what continuous integration runs; HOLDPOINT_KEEP=1 keeps disks and console logs. The rest goes to the test runner.
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDPOINT_PACKAGES=scripts/packages-boot.txt scripts/setup.sh
arguments=()
for argument; do
  if [ "$argument" = --slice ]; then export HOLDPOINT_BOOT_SLICE=1; else arguments+=("$argument"); fi
done
exec npx vitest run --config vitest.boot.config.ts "${arguments[@]}"
