#!/usr/bin/env bash
# `npm test`: own set-up, then all tests of the default tier. Arguments go to the test runner.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
npm run --silent build
exec npx vitest run "$@"
