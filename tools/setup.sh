#!/usr/bin/env bash
# Install what is missing: Debian packages, the virtual environment .venv, Python packages at their pinned versions.
#
#   SECATEUR_PIP_ARGS   further arguments of every `pip install` (an index of CPU wheels, a mirror, a proxy)
#   SECATEUR_SKIP_APT   not empty: leave the system's packages alone, whatever is missing
#   PYTHON              the interpreter for .venv; otherwise python3.11, or else the newest python3 from 3.11 on
#
# Quick when nothing is missing: .venv/.secateur-setup holds the hash of everything that decides what is installed.
# Exits 5 with one line that says what to do when something cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
packages_file=firmware/apt-packages.txt
stamp=.venv/.secateur-setup
read -r -a pip_args <<<"${SECATEUR_PIP_ARGS:-}"

say() { echo "setup: $*" >&2; }
die() {
    say "$*"
    exit 5
}

# Two at once would write into one .venv. The lock ends with this process; where flock is missing there is none.
exec 9<tools/setup.sh
if command -v flock >/dev/null; then flock 9; fi

# ---- the system's packages ---------------------------------------------------------------------------------------

apt_updated=
apt_install() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "missing packages, and neither root nor sudo to install them. As root: apt-get install -y $*"
        # -n where nobody can type a password
        as_root=(sudo)
        [ -t 0 ] || as_root=(sudo -n)
        "${as_root[@]}" true ||
            die "missing packages, and sudo refuses. As root: apt-get install -y $*"
    fi
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
    say "installing $*"
    if [ -z "$apt_updated" ]; then
        "${apt[@]}" update >&2 || die "apt-get update failed, see above"
        apt_updated=yes
    fi
    "${apt[@]}" install --no-install-recommends "$@" >&2 || die "apt-get install failed, see above"
}

rows() { grep -v -E '^(#|$)' "$packages_file" | tr -d ' ' | cut -d'|' -f1,2 | tr '|' ' '; }

missing_system_packages() {
    local package command
    if command -v dpkg-query >/dev/null; then
        local installed
        installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null | grep ' installed$' || true)
        while read -r package command; do
            grep -q -x "$package installed" <<<"$installed" || echo "$package"
        done < <(rows)
    else
        while read -r package command; do
            [ "$command" = - ] || command -v "$command" >/dev/null || echo "$package"
        done < <(rows)
    fi
}

install_system_packages() {
    local missing
    mapfile -t missing < <(missing_system_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ -n "${SECATEUR_SKIP_APT:-}" ]; then
        say "left out, as SECATEUR_SKIP_APT asks: ${missing[*]}"
        return 0
    fi
    command -v apt-get >/dev/null ||
        die "no apt-get here. Install what these Debian packages bring, then run it again with" \
            "SECATEUR_SKIP_APT=1: ${missing[*]}"
    apt_install "${missing[@]}"
}

# ---- Python ------------------------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.19 python3.18 python3.17 python3.16 python3.15 python3.14 \
        python3.13 python3.12 python3}; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

make_venv() {
    local python version
    python=$(find_python)
    if [ -z "$python" ] && [ -z "${PYTHON:-}" ] && [ -z "${SECATEUR_SKIP_APT:-}" ] && command -v apt-get >/dev/null; then
        apt_install python3 python3-venv
        python=$(find_python)
    fi
    [ -n "$python" ] || die "no Python from 3.11 on: install one, or name it: make setup PYTHON=/path/to/python3.11"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian keeps this part of the standard library in a package of its own, one a version.
        version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        [ -z "${SECATEUR_SKIP_APT:-}" ] && command -v apt-get >/dev/null ||
            die "$python has no venv module: install it, or name another Python: make setup PYTHON=..."
        apt_install "$version-venv"
    fi
    say "creating .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

venv_usable() {
    # A folder that was moved, or whose Python went away, is made anew.
    [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2>/dev/null)" = "$root/.venv" ] &&
        new_enough .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1
}

pip_install() { .venv/bin/python -m pip install -q --disable-pip-version-check "${pip_args[@]}" "$@" >&2; }

pinned() { sed -n "s/^$1==//p" constraints.txt; }

# Version and build of a package, "2.13.0+cpu", without importing it; empty when it is missing.
installed() {
    .venv/bin/python - "$1" <<'END'
import sys
from importlib import metadata

try:
    print(metadata.version(sys.argv[1]))
except metadata.PackageNotFoundError:
    pass
END
}

install_python_packages() {
    local torch had
    torch=$(pinned torch)
    had=$(installed torch)
    # Alone and first, so that no other package's requirement chooses the build. One that is there stays.
    if [ "${had%%+*}" != "$torch" ]; then
        say "installing torch $torch"
        pip_install -c constraints.txt "torch==$torch" ||
            die "pip could not install torch==$torch; where to find a CPU build can be said in SECATEUR_PIP_ARGS"
        had=$(installed torch)
    fi
    say "installing the Python packages of constraints.txt"
    pip_install -c constraints.txt setuptools
    pip_install -c constraints.txt --no-build-isolation --editable '.[test]' || die "pip failed, see above"
    # The demo's recordings. Its own requirements would ask for nothing that is not here, but must not choose.
    pip_install --no-deps "seglearn==$(pinned seglearn)" || die "pip could not install seglearn, see above"
    # Four wake-word networks, for the tests. It brings a library of its own, for this platform only.
    pip_install --no-deps "pymicro-wakeword==$(pinned pymicro-wakeword); \
        platform_system == 'Linux' and platform_machine == 'x86_64'" ||
        die "pip could not install pymicro-wakeword, see above"
    [ "$(installed torch)" = "$had" ] ||
        die "another package replaced torch $had by $(installed torch). Pin that package in constraints.txt," \
            "delete .venv, and run it again"
}

fingerprint() {
    # The interpreter and the place count too: an editable install knows its absolute path.
    { echo "$root"; cat constraints.txt pyproject.toml tools/setup.sh; .venv/bin/python --version; } 2>&1 |
        sha256sum | cut -d' ' -f1
}

# ------------------------------------------------------------------------------------------------------------------

install_system_packages
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; then exit 0; fi
venv_usable || make_venv
rm -f "$stamp"
install_python_packages
fingerprint >"$stamp"
say "ready: .venv/bin/secateur"
