"""tools/setup.sh on machines where things are missing. Stand-ins for apt, sudo and Python record what it asks."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("tools/setup.sh", "firmware/apt-packages.txt", "constraints.txt", "pyproject.toml")
# What the script may use of the machine, and nothing else: no real apt-get, sudo or Python is in reach.
PROGRAMS = ("bash", "cat", "cp", "cut", "dirname", "env", "grep", "mkdir", "rm", "sed", "sh", "sha256sum", "tr")

PYTHON = """
case "$*" in
"--version") echo "Python 3.11.9" ;;
"-c import sys; print(sys.prefix)") echo "$PWD/.venv" ;;
"-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
"- torch") cat torch.version 2>/dev/null || true ;;
"-m pip install "*)
    echo "$*" >>pip.log
    case "$*" in
    *" torch=="*) echo "${*##*torch==}+cpu" >torch.version ;;
    *"[test]"*) [ ! -f replaces-torch ] || echo 9.9.9 >torch.version ;;
    esac ;;
esac
"""


@dataclass
class Machine:
    """A checkout and the programs of a machine that the test invents."""

    checkout: Path
    programs: Path

    def has(self, name: str, script: str) -> None:
        """Put a shell script of that name on PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script as `make setup` does."""
        return subprocess.run(
            ["tools/setup.sh"],
            cwd=self.checkout,
            env={"PATH": str(self.programs), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def pip_calls(self) -> list[str]:
        """What pip was asked to install since the last look, one line a call."""
        log = self.checkout / "pip.log"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return calls


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Root on a Debian with Python and pip, on which every Debian package is missing."""
    made = Machine(tmp_path / "checkout", tmp_path / "programs")
    made.programs.mkdir()
    for program in PROGRAMS:
        found = shutil.which(program)
        assert found is not None
        (made.programs / program).symlink_to(found)
    for name in FILES:
        (made.checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, made.checkout / name)
    made.has("id", "echo 0")
    made.has("dpkg-query", "cat debian 2>/dev/null || true")
    made.has("apt-get", 'echo "apt-get $*" >>apt.log')
    made.has("python3.11", PYTHON)
    return made


def packages() -> list[str]:
    """The Debian packages that setup installs."""
    lines = (ROOT / "firmware/apt-packages.txt").read_text().splitlines()
    return [line.split("|")[0].strip() for line in lines if line and not line.startswith("#")]


def test_missing_debian_packages_are_installed_in_one_call(machine: Machine) -> None:
    """One update, one install, only what is missing, and waiting for another apt that holds the lock."""
    first, *others = packages()
    (machine.checkout / "debian").write_text(f"{first} installed\n{others[0]} config-files\n")
    ran = machine.setup()
    assert ran.returncode == 0, ran.stderr
    update, install = (machine.checkout / "apt.log").read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith(f"install --no-install-recommends {' '.join(others)}")
    assert "DPkg::Lock::Timeout=300" in install


@pytest.mark.parametrize("sudo", [None, "exit 1"])
def test_without_root_or_sudo_one_line_says_what_root_must_run(machine: Machine, sudo: str | None) -> None:
    """Neither root nor a sudo that obeys: exit 5, the command to be run, and no half-made environment."""
    machine.has("id", "echo 1000")
    if sudo is not None:
        machine.has("sudo", sudo)
    ran = machine.setup()
    assert ran.returncode == 5
    (line,) = ran.stderr.splitlines()
    assert line.endswith(f"As root: apt-get install -y {' '.join(packages())}")
    assert not (machine.checkout / ".venv").exists()


def test_sudo_is_used_when_not_root(machine: Machine) -> None:
    """With a sudo that obeys, apt-get runs under it."""
    machine.has("id", "echo 1000")
    machine.has("sudo", 'echo "sudo $*" >>sudo.log; [ "$1" != -n ] || shift; "$@"')
    ran = machine.setup()
    assert ran.returncode == 0, ran.stderr
    assert len((machine.checkout / "apt.log").read_text().splitlines()) == 2
    assert "apt-get" in (machine.checkout / "sudo.log").read_text()


def test_a_system_without_apt_is_told_what_to_install(machine: Machine) -> None:
    """No apt-get: exit 5, the packages' names, and how to go on once they are there."""
    (machine.programs / "apt-get").unlink()
    ran = machine.setup()
    assert ran.returncode == 5
    (line,) = ran.stderr.splitlines()
    assert "SECATEUR_SKIP_APT=1" in line
    assert line.endswith(" ".join(packages()))
    assert machine.setup(SECATEUR_SKIP_APT="1").returncode == 0


def test_without_a_python_that_is_new_enough_it_says_so(machine: Machine) -> None:
    """An old python3 does not count; nothing is created."""
    (machine.programs / "python3.11").unlink()
    machine.has("python3", "exit 1")
    ran = machine.setup(SECATEUR_SKIP_APT="1")
    assert ran.returncode == 5
    assert "no Python from 3.11 on" in ran.stderr.splitlines()[-1]


def test_torch_is_installed_alone_and_first_with_the_users_arguments(machine: Machine) -> None:
    """torch has a pip call of its own; SECATEUR_PIP_ARGS is in every call; all are pinned."""
    assert machine.setup(SECATEUR_PIP_ARGS="--find-links wheels --pre").returncode == 0
    calls = machine.pip_calls()
    assert all(" --find-links wheels --pre " in call for call in calls)
    assert " torch==" in calls[0]
    assert not any(" torch==" in call for call in calls[1:])
    without_requirements = ("--no-deps seglearn==", "--no-deps pymicro-wakeword==")
    assert all("-c constraints.txt" in call or any(w in call for w in without_requirements) for call in calls)
    assert all(any(w in call for call in calls) for w in without_requirements)


def test_nothing_is_installed_twice_and_a_new_pin_is_noticed(machine: Machine) -> None:
    """The second run asks pip for nothing; after a change of constraints.txt pip runs again, without torch."""
    assert machine.setup().returncode == 0
    assert len(machine.pip_calls()) >= 3
    again = machine.setup()
    assert (again.returncode, machine.pip_calls()) == (0, [])
    constraints = machine.checkout / "constraints.txt"
    constraints.write_text(constraints.read_text() + "some-package==1.0\n")
    assert machine.setup().returncode == 0
    calls = machine.pip_calls()
    assert calls
    assert not any("torch" in call for call in calls)


def test_a_replaced_torch_is_refused_now_and_at_the_next_run(machine: Machine) -> None:
    """A package that brings its own torch makes setup fail, and the environment never counts as ready."""
    (machine.checkout / "replaces-torch").touch()
    ran = machine.setup()
    assert ran.returncode == 5
    assert "another package replaced torch" in ran.stderr.splitlines()[-1]
    assert "by 9.9.9" in ran.stderr.splitlines()[-1]
    assert machine.setup().returncode == 5
