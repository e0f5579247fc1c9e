"""scripts/test in a tree that holds a few tests made for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STABLE = "def test_stable(): pass\n"
UNSTABLE = """
from pathlib import Path
def test_unstable():
    print("heard the first time")
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        raise ValueError("said the first time")
"""
BROKEN = "def test_broken(): assert 1 + 1 == 3\n"
STARTING = "import subprocess\ndef test_starting(): subprocess.run(['false'], check=True)\n"
THROUGH_PYFUSE3 = """
import os, pytest
def test_through_pyfuse3(): assert os.environ["ONEFS_KERNEL_ADAPTER"] == "pyfuse3"
@pytest.mark.session_only
def test_session(): raise AssertionError
"""
MANY_EXAMPLES = """
from hypothesis import given, strategies
@given(strategies.none())
def test_many(value): assert value
"""
RANDOM = """
import pytest, random
from hypothesis import given, strategies
from seeds import seeded
@given(strategies.integers())
def test_examples(number): assert number != 0
@pytest.mark.seeded
def test_cases(): assert seeded(1).random() == random.Random("5 1").random()
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the script and this suite's conftest.py, where all is installed."""
    for folder in ("scripts", "tests"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "scripts/test", tmp_path / "scripts")
    for name in ("conftest.py", "unsynced.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "scripts/setup.sh").symlink_to("/bin/true")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run(tree: Path, *arguments: str, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COVERAGE_"))}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment["OMP_NUM_THREADS"] = "1"  # so many processors does nproc tell then, and so many workers start
    command = [*before, tree / "scripts/test", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_what_passes_when_run_once_more_is_named_as_unstable(tree: Path) -> None:
    (tree / "tests/test_made.py").write_text(STABLE + UNSTABLE)
    done = run(tree, "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    runs, _, unstable = done.stdout.partition("UNSTABLE")
    first, _, again = runs.partition("Once more, alone")
    assert "1 failed, 1 passed" in first
    assert "1 passed" in again
    assert "tests/test_made.py::test_unstable" in unstable
    assert "said the first time" in unstable
    assert "heard the first time" in unstable
    assert "test_stable" not in unstable
    assert "ruff" not in done.stdout


def test_what_fails_again_fails_the_run(tree: Path) -> None:
    (tree / "tests/test_made.py").write_text(BROKEN + UNSTABLE)
    done = run(tree, "tests", "-n0")
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout.partition("Once more, alone")[2]
    assert "FAILED: pytest tests -n0" in done.stdout
    assert "UNSTABLE" not in done.stdout


def test_a_run_that_fails_without_a_failed_test_stays_so(tree: Path) -> None:
    (tree / "tests/made").mkdir()
    (tree / "tests/made/test_made.py").write_text(STABLE)
    (tree / "tests/made/conftest.py").write_text("def pytest_sessionfinish(session): session.exitstatus = 1\n")
    done = run(tree, "tests/made", "-n0")
    assert done.returncode == 1
    assert "Once more, alone" not in done.stdout
    assert "FAILED: pytest tests/made -n0" in done.stdout


def test_quick_runs_what_starts_no_process(tree: Path) -> None:
    (tree / "tests/test_made.py").write_text(STABLE + STARTING + MANY_EXAMPLES)
    done = run(tree, "--quick", "-n0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 2 skipped" in done.stdout
    assert "ruff" not in done.stdout


def test_mounts_are_tested_through_the_adapter_that_is_named(tree: Path) -> None:
    """Those of the scenarios, if none are named; tests that are of the session alone are left out."""
    (tree / "tests/test_made.py").write_text(BROKEN)
    for folder in ("scenarios", "fuse"):
        (tree / "tests" / folder).mkdir()
        (tree / "tests" / folder / f"test_of_{folder}.py").write_text(THROUGH_PYFUSE3)
    done = run(tree, "--adapter", "pyfuse3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "= 2 passed in " in done.stdout
    assert "ruff" not in done.stdout


def test_random_runs_what_has_random_examples_with_the_seed(tree: Path) -> None:
    (tree / "tests/test_made.py").write_text(STABLE + RANDOM)
    done = run(tree, "--random=5", "-n0")
    assert done.returncode == 1
    first, _, again = done.stdout.partition("Once more, alone")
    assert "1 failed, 1 passed, 1 deselected" in first
    assert "1 failed in" in again
    assert "FAILED: pytest --hypothesis-seed=5 " in done.stdout
    assert "ruff" not in done.stdout


@pytest.mark.needs_mount
def test_what_needs_root_is_left_to_root(tree: Path) -> None:
    """In a namespace in which an ordinary user is called root."""
    marked = "import os, pytest\n@pytest.mark.needs_root\ndef test_root(): os.setuid(1)\n"
    (tree / "tests/test_made.py").write_text(marked + "@pytest.mark.needs_mount\n" + STABLE)
    done = run(tree, "--quick", "-n0", before=("unshare", "--user", "--map-root-user"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    assert "1 tests were skipped since they need root" in done.stdout


def test_help_sets_nothing_up(tree: Path) -> None:
    (tree / "scripts/setup.sh").unlink()
    done = run(tree, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--quick" in done.stdout
    assert "--random" in done.stdout
