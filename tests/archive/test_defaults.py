"""Which editions a mount counts as the defaults, as its rule and its catalogue change."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

from archives import make_tables

from onefs.archive.defaults import Defaults
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.revisions import Rule
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import write_tables

FILES = {"alf/h.x.npy": b"a", "alf/#2024-01-01#/h.x.npy": b"b", "alf/#2025-01-01#/h.x.npy": b"c", "alf/k.x.npy": b"d"}
PLAIN, OLDER, NEWER, ONLY = FILES


def published(folder: Path, datasets: dict[str, Dataset], default: str) -> Snapshot:
    make_tables(folder, FILES)
    rows = [replace(each, default_revision=name == default) for name, each in datasets.items()]
    write_tables(folder, [load_snapshot(folder, folder).session(0)], rows, created="2024-01-01 00:00", origin="")
    return load_snapshot(folder, folder)


def test_the_rule_and_the_catalogue_in_force_count(tmp_path: Path) -> None:
    datasets = make_tables(tmp_path / "made", FILES, qc=QC.PASS)
    datasets[NEWER] = replace(datasets[NEWER], qc=QC.FAIL)
    catalogue, rule = published(tmp_path / "first", datasets, OLDER), Rule()
    defaults = Defaults(lambda: catalogue, lambda: rule)

    def found() -> list[str]:
        return [name for name, dataset in datasets.items() if defaults.has(dataset)]

    assert found() == [OLDER, ONLY]
    catalogue = published(tmp_path / "second", datasets, NEWER)
    assert found() == [NEWER, ONLY]
    rule = Rule(qc_limit=QC.WARNING)
    assert found() == [OLDER, ONLY]
    rule = Rule(as_of="2023-12-31")
    assert found() == [PLAIN, ONLY]
    rule = Rule(default_only=True)
    assert found() == [NEWER, ONLY]


def test_what_a_release_has_and_the_catalogue_has_not_counts_by_its_own_mark(tmp_path: Path) -> None:
    datasets = make_tables(tmp_path / "made", FILES)
    catalogue = load_snapshot(tmp_path / "made", tmp_path)
    defaults = Defaults(lambda: catalogue, Rule)
    for other in (
        replace(datasets[PLAIN], rel_path="alf/other.x.npy"),
        replace(datasets[PLAIN], eid=UUID(int=5)),
        replace(datasets[PLAIN], eid=None),
    ):
        assert defaults.has(other)
        assert not defaults.has(replace(other, default_revision=False))
