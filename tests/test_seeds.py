"""Random examples and cases: which runs try the same ones."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seeds import seeded, use_seed


@pytest.fixture(autouse=True)
def as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    use_seed(request.config.getoption("hypothesis_seed"))


def examples() -> list[tuple[int, str]]:
    tried = []

    @given(st.integers(), st.text())
    def run(number: int, text: str) -> None:
        tried.append((number, text))

    run()
    return tried


def test_without_a_seed_the_examples_are_the_same_whatever_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypothesis would take some of the numbers in the code of the user's modules."""
    use_seed(None)
    first = examples()
    (tmp_path / "loaded_later.py").write_text(f"NUMBERS = {list(range(10**9, 10**9 + 100))}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("loaded_later")
    assert len(set(first)) > 50
    assert examples() == first


def test_each_seed_leads_to_other_cases() -> None:
    cases = []
    for seed in (None, "1", "2", None, "1"):
        use_seed(seed)
        cases.append([seeded(number).random() for number in (1, 2)])
    assert cases[3:] == cases[:2]
    assert len({case for of_seed in cases for case in of_seed}) == 6
