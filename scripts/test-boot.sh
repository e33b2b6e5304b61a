#!/usr/bin/env bash
# `npm run test:boot`: own set-up, then tests of machines that boot. Needs root, and for the first run the Debian mirror. KVM where
# it runs a kernel, emulation otherwise: never skipped. HOLDPOINT_KEEP=1 keeps disks and console logs. Arguments go to the test runner.
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDPOINT_PACKAGES=scripts/packages-boot.txt scripts/setup.sh
exec npx vitest run --config vitest.boot.config.ts "$@"
