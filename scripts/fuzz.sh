#!/usr/bin/env bash
# `npm run fuzz -- --minutes N`: own set-up, then every fuzz target for so long. Arguments: test/fuzz/main.ts.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
npm run --silent build
exec npx tsx test/fuzz/main.ts "$@"
