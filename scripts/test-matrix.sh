#!/usr/bin/env bash
# `npm run test:matrix`: own set-up, then the long tests that `npm test` makes a slice of. Arguments go to the test runner.
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDPOINT_PACKAGES=scripts/packages-matrix.txt scripts/setup.sh
npm run --silent build
exec npx vitest run --config vitest.matrix.config.ts "$@"
