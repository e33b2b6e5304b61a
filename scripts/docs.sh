#!/usr/bin/env bash
# `npm run docs`: own set-up, then the documentation as a site in dist/site, by MkDocs, every link checked. It needs no server:
# open dist/site/index.html.
set -euo pipefail
cd "$(dirname "$0")/.."
HOLDPOINT_BASE=scripts/packages-build.txt HOLDPOINT_PACKAGES=scripts/packages-docs.txt scripts/setup.sh
node scripts/site/stage.mjs dist/site-source
mkdocs build --quiet --strict --clean -f scripts/site/mkdocs.yml
node scripts/site/check-links.mjs dist/site
echo dist/site/index.html
