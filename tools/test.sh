#!/usr/bin/env bash
# Run the tests: `tools/test.sh unit` (seconds, no toolchain), `tools/test.sh rest` (emulators and the slow ones).
# Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
part=$1
shift

# Two workers fill two cores; torch's own threads on top of them only fight.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# Workers and the commands that tests start import the same files, hundreds of times: all but the first find them compiled.
unset PYTHONDONTWRITEBYTECODE

case $part in
unit) select='unit' ;;
rest) select='(emulator or slow) and not board and not gpu' ;;
*)
    echo "test.sh: part $part is neither unit nor rest" >&2
    exit 2
    ;;
esac

exec .venv/bin/python -m pytest -q -m "$select" -n 2 --dist worksteal --durations=40 "$@"
