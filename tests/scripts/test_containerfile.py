"""The container image is made of files that are there, and has what onefs is installed with."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = re.sub(r"^#.*\n", "", (ROOT / "scripts" / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")


def test_what_it_copies_is_what_the_package_is_made_of() -> None:
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)", TEXT, re.MULTILINE) for word in line.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = [project["project"]["readme"], *project["project"]["license-files"], *packages, "pyproject.toml"]
    assert set(copied) == set(needed)


def test_it_runs_a_command_of_the_package_as_another_user() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (command,) = re.findall(r'^ENTRYPOINT \["(.*)"\]$', TEXT, re.MULTILINE)
    assert command in scripts
    (user,) = re.findall(r"ONEFS_RUN_AS=(\S+)", TEXT)
    assert re.search(rf"useradd .* {user} ", TEXT)
