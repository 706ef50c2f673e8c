#!/usr/bin/env bash
# Style, types and floors of the whole tree; all are run, and the first that fails decides the exit status.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
status=0

check() {
    echo "lint: $1" >&2
    shift
    "$@" || status=${status/#0/$?}
}

check "ruff check" "$bin/ruff" check .
check "ruff format" "$bin/ruff" format --check .
check "mypy --strict" "$bin/mypy" --num-workers 2 -p secateur
# Through typings/, where the mapped folders look like one package: import-linter reads the file tree.
check "lint-imports" env PYTHONPATH=typings "$bin/lint-imports" --no-logo --cache-dir .import_linter_cache
exit "$status"
