#!/usr/bin/env bash
# Write constraints.txt: every package of .venv at its version, so that others get the environment tested here.
set -euo pipefail
cd "$(dirname "$0")/.."

{
    cat <<'END'
# The environment in which this release was tested: every package, its version. pip reads it as constraints
# (`pip install -c constraints.txt ...`), so a line here installs nothing by itself. Renew it with
# `tools/freeze.sh`, then run the whole test suite.
END
    # Without the local part of a version ("+cpu"): which build of torch fits is the machine's affair.
    .venv/bin/python -m pip list --format=freeze --exclude-editable --exclude pip |
        sed -E 's/\+.*$//' | LC_ALL=C sort -f
} >constraints.new
mv constraints.new constraints.txt
echo "constraints.txt: $(grep -c == constraints.txt) packages"
