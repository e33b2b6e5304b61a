#!/usr/bin/env bash
# `npm run check`: types, lint, format, import direction, generated documents. Changes nothing.
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh || exit 1
failed=0
step() { # step NAME COMMAND… : runs it, prints its output only when it fails
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then echo "ok    $name"; else
    echo "FAIL  $name"
    printf '%s\n' "$output"
    failed=1
  fi
}
step 'types' npx tsc --noEmit -p .
step 'lint' npx oxlint --deny-warnings src test bench scripts
step 'format' npx prettier --check --log-level warn .
step 'import direction' node scripts/import-direction.mjs
step 'generated documents' npx tsx scripts/generate-flow-docs.ts --check
step 'man page of the interface' npx tsx scripts/generate-interface-man.ts --check
man_pages() {
  local page
  for page in docs/man/*.scd; do scdoc < "$page" > /dev/null || return 1; done
}
step 'man pages' man_pages
exit $failed
