"""scripts/man-pages: pages of all commands and settings, without warnings, current, and in the wheel."""

import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from onefs.cli.main import VERBS
from onefs.settings import table

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "man-pages"
NAMES = ("onefs.1", "mount.onefs.8")


@pytest.fixture(scope="module")
def man_pages() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("man_pages", str(SCRIPT))
    spec = importlib.util.spec_from_loader("man_pages", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (ROOT / "onefs" / "man" / name).read_text(encoding="ascii")


def shown(source: str) -> str:
    """A page as it is on a terminal, without fonts. Fails at any warning."""
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", "-ww"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_current(name: str, man_pages: ModuleType) -> None:
    assert page(name) == man_pages.PAGES[name](man_pages.date_of(page(name))), "Run scripts/man-pages."


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_shown_without_warnings(name: str) -> None:
    text = shown(page(name))
    assert text.startswith(name.rpartition(".")[0].upper())
    if shutil.which("mandoc"):
        done = subprocess.run(["mandoc", "-T", "lint"], input=page(name), capture_output=True, text=True, check=False)
        assert done.stdout == ""


def test_the_page_of_the_command_has_every_verb_and_setting() -> None:
    text = " ".join(shown(page("onefs.1")).split())
    assert all(f"onefs {verb} [" in text or f"onefs {verb} " in text for verb in VERBS)
    settings = text.rpartition(" SETTINGS Each ")[2]
    for entry in table():
        assert (f"{entry.variable}, {entry.key} " if entry.secret else f"{entry.flag} {entry.metavar} ") in settings
    assert "larger ones by blocks. Default: 64M." in settings


def test_the_page_of_mounting_has_every_setting_but_secrets() -> None:
    text = " ".join(shown(page("mount.onefs.8")).split())
    for entry in table():
        assert (f" {entry.key}={entry.metavar} " in text) != entry.secret


def test_markdown_becomes_headings_paragraphs_lists_tables_and_plain_lines(man_pages: ModuleType) -> None:
    written = man_pages.Page("x", 1, "2026-01-01", "Manual")
    written.heading("TOPIC")
    written.markdown(
        "# Topic\n\nOne `code` and **bold**,\nsee [a page](https://example.org/~me).\n\n## Part\n\n"
        "- first\n  goes on\n- second\n\n```\nif a:\n\n    .b 'c' \\d\n```\n\n"
        "| a | b | c |\n|---|---|---|\n| `x` | y\\|z | |\n| u | v | w |\n\n"
        "    $ onefs é\n"
    )
    lines = shown(written.text()).split("\n")
    below = lines[lines.index("TOPIC") + 1 :]
    assert [line for line in below if line.strip()][:-1] == [
        "       One code and bold, see a page (https://example.org/~me).",
        "   Part",
        "       • first goes on",
        "       • second",
        "           if a:",
        "               .b 'c' \\d",
        "       x      y|z",
        "       u      v – w",
        "           $ onefs é",
    ]


@pytest.mark.parametrize("words", [".TH x", "'x", "a\\fBb", "-x --y ~ ^ ` ' \" \\", "\\-"])
def test_no_text_is_taken_for_a_request(words: str, man_pages: ModuleType) -> None:
    for add in ("paragraph", "point"):
        written = man_pages.Page("x", 1, "2026-01-01", "Manual")
        written.heading("TOPIC")
        getattr(written, add)(words)
        lines = shown(written.text()).split("\n")
        assert words in lines[lines.index("TOPIC") + 1]


def test_the_wheel_installs_the_pages_and_the_topics(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    wheel = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", wheel, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    names = zipfile.ZipFile(tmp_path / done.stdout.split()[-1]).namelist()
    data = next(name for name in names if ".data/" in name).partition("/")[0]
    assert {f"{data}/data/share/man/man1/onefs.1", f"{data}/data/share/man/man8/mount.onefs.8"} <= set(names)
    assert "onefs/help/settings.md" in names
    assert not [name for name in names if name.startswith("onefs/man/")]
