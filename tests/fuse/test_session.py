"""`Session` on a real mount of a small tree: what it answers, and what the kernel need not ask."""

import os
from pathlib import Path

import pytest
from toy_operations import DIRECTORY, ROOT, ToyOperations, mounted

pytestmark = pytest.mark.needs_mount

SMALL = b"small"


@pytest.fixture
def operations() -> ToyOperations:
    toy = ToyOperations()
    for letter in b"abc":
        folder = toy.add(ROOT, bytes([letter]), DIRECTORY)
        for number in range(60):
            toy.add(folder, b"file%d" % number, content=SMALL)
    return toy


def walk(path: Path) -> list[tuple[str, list[str], list[str]]]:
    """Everything below a folder, each entry looked at."""
    found = [(folder, sorted(folders), sorted(names)) for folder, folders, names in os.walk(path)]
    for folder, _, names in found:
        for name in names:
            os.lstat(os.path.join(folder, name))
    return sorted(found)


def test_walks_ask_for_each_listing_once(tmp_path: Path, operations: ToyOperations) -> None:
    with mounted(tmp_path / "mnt", operations) as served:
        first = walk(served.path)
        assert [len(names) for _, _, names in first] == [0, 60, 60, 60]
        assert operations.asked["opendir"] == 4
        assert operations.asked["lookup"] == 0
        operations.asked.clear()
        assert walk(served.path) == first
        assert operations.asked["opendir"] == operations.asked["readdir"] == 0
        operations.asked.clear()
        assert walk(served.path) == first
        assert not operations.asked
