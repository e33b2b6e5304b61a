#!/usr/bin/env bash
# `npm run test:package`: own set-up, then the Debian package: built twice (the same bytes), checked by lintian, and installed,
# used, upgraded and removed on a Debian 12 that boots a real systemd in a container. Needs root. Arguments go to the test runner.
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDPOINT_PACKAGES=scripts/packages-package.txt scripts/setup.sh
PACKAGE_VERSION=0.1.0-2 npm run --silent package
npm run --silent package
exec npx vitest run --config vitest.package.config.ts "$@"
