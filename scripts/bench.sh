#!/usr/bin/env bash
# `npm run bench`: own set-up, then measurements beside Debian's `mender`, taking turns. See `npm run bench -- --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
npm run --silent build
exec node_modules/.bin/tsx bench/main.ts "$@"
