#!/usr/bin/env bash
# `npm run test:frontends`: own set-up, then every frontend on a screen, and every scenario of the simulator. Arguments go to
# the test runner. SCREENSHOTS=FOLDER: the pictures are kept there.
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDPOINT_PACKAGES=scripts/packages-frontends.txt scripts/setup.sh
npm run --silent build
exec npx vitest run --config vitest.frontends.config.ts "$@"
