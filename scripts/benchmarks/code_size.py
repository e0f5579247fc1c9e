"""The work `size`: how much code fetches and keeps bytes, and whether the repository has grown."""

import ast
import importlib.util
import subprocess
from pathlib import Path

from benchmarks.bench import Bench, BenchFailedError
from benchmarks.figures import ONEFS, at_most

WORK = "size"
PACKAGES = ("cache", "fetch")
CODE = " and ".join(PACKAGES)
MOST_LINES = 40
LONG = f"functions of more than {MOST_LINES} lines in {CODE}"


def measure(bench: Bench) -> None:
    """Modules, lines and long functions; the lines of all text files, to those of an earlier revision."""
    package = _package()
    modules = sorted(file for name in PACKAGES for file in (package / name).rglob("*.py"))
    texts = {str(file.relative_to(package.parent)): file.read_text() for file in modules}
    lines = sum(len(text.splitlines()) for text in texts.values())
    long = sorted(f"{name}:{function}" for name, text in texts.items() for function in long_functions(text))
    bench.add(WORK, f"modules of {CODE}", ONEFS, [len(texts)], "modules", at_most(28))
    bench.add(WORK, f"lines of {CODE}", ONEFS, [lines], "lines", at_most(4_500))
    bench.add(WORK, LONG, ONEFS, [len(long)], "functions", at_most(0))
    if long:
        bench.report.lists[f"{WORK}: {LONG}"] = long
    _compare(bench, package.parent)


def long_functions(text: str) -> list[str]:
    """Names and lengths of the functions that are too long, from `def` to their last line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_LINES:
                found.append(f"{node.name} ({length} lines)")
    return found


def _package() -> Path:
    """The folder of the onefs that is measured."""
    found = importlib.util.find_spec("onefs")
    if found is None or found.origin is None:
        raise BenchFailedError("onefs is not installed.")
    return Path(found.origin).parent


def _compare(bench: Bench, root: Path) -> None:
    """The repository, as it is committed or added, with `bench.base` or the last tag."""
    base = bench.base or _git(root, "describe", "--tags", "--abbrev=0")
    if not base:
        bench.report.note(f"{WORK}: {root} has no tag to compare with. Name a revision: --base REVISION")
        return
    now, before = _lines(root), _lines(root, base)
    if not now or not before:
        raise BenchFailedError(f"git does not know the revision {base!r} in {root}.")
    bench.add(WORK, "lines of the repository", ONEFS, [now], "lines", note="text files")
    bench.add(WORK, "lines of the repository", base, [before], "lines")
    bench.add(WORK, "lines of the repository, to before", ONEFS, [now / before], "×", at_most(1))


def _lines(root: Path, *revision: str) -> int:
    """Lines of all text files, of those in the work tree without a revision; 0 if git does not know it."""
    counted = _git(root, "grep", "-I", "-c", "", *revision)
    return sum(int(line.rpartition(":")[2]) for line in counted.splitlines())


def _git(root: Path, *words: str) -> str:
    """What git prints; "" if it fails."""
    return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=False).stdout.strip()
