#!/usr/bin/env bash
# `npm run demo`: own set-up, then a real update on a private bus. Needs no root once the packages are there.
#   --manual   wait for a person to type the commands, instead of typing them after a moment
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDPOINT_BASE=scripts/packages-demo.txt scripts/setup.sh
npm run --silent build
exec node_modules/.bin/tsx scripts/demo.ts "$@"
