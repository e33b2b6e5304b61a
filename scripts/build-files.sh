#!/usr/bin/env bash
# `npm run build:files`: everything that packaging/install.sh takes from dist/: programs, manual pages, completions.
set -euo pipefail
cd "$(dirname "$0")/.."
npm run --silent build
rm -rf dist/man dist/completions
mkdir -p dist/man
for page in docs/man/*.scd; do
  name=${page##*/}
  scdoc < "$page" > "dist/man/${name%.scd}"
done
npx tsx scripts/completions.ts dist/completions
