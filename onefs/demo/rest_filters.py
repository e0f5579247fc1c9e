"""Owns the filters and fields that several endpoints share: those of a row's datasets, and those of a linked row."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onefs.catalogue.records import QC
from onefs.demo.database import Database
from onefs.demo.django_filter import numeric, truth, uuid
from onefs.demo.resources import Ask, Field, Filter, Keeps, RestError, outcome
from onefs.demo.rows import DatasetRow

DatasetsOf = Callable[[Database, Any], Sequence[DatasetRow]]


def within(prefix: str, fields: Mapping[str, Field], get: Callable[[Database, Any], Any]) -> dict[str, Field]:
    """The fields of the row that `get` finds for a row; null where there is none."""

    def link(field: Field) -> Field:
        def values(db: Database, row: Any) -> Any:
            inner = get(db, row)
            return field.values(db, inner) if inner is not None else [None]

        return Field(values, field.parse)

    return {f"{prefix}__{name}": link(field) for name, field in fields.items()}


def dataset_fields(prefix: str, datasets_of: DatasetsOf) -> dict[str, Field]:
    """The fields of a row's datasets; null where it has none."""

    def each(get: Callable[[DatasetRow], object], parse: Callable[[object], object] = str) -> Field:
        return Field(lambda db, row: [get(dataset) for dataset in datasets_of(db, row)] or [None], parse)

    return {
        prefix: each(lambda dataset: dataset.id, uuid),
        f"{prefix}__name": each(lambda dataset: dataset.name),
        f"{prefix}__collection": each(lambda dataset: dataset.collection),
        f"{prefix}__dataset_type__name": each(lambda dataset: dataset.dataset_type),
        f"{prefix}__qc": each(lambda dataset: int(dataset.qc), numeric),
        f"{prefix}__default_dataset": each(lambda dataset: dataset.default, truth),
        f"{prefix}__tags__name": Field(
            lambda db, row: {tag.name for dataset in datasets_of(db, row) for tag in dataset.tags} or [None]
        ),
    }


def of_outcome(get: Callable[[Any], QC]) -> Filter:
    """Keeps rows with this QC, by its name."""

    def filter_(ask: Ask, value: str) -> Keeps:
        del ask
        wanted = QC.__members__.get(value.upper().strip())
        if wanted is None:
            raise RestError.fault("Invalidqc, choices are: CRITICAL, FAIL, WARNING, NOT_SET, PASS")
        return lambda row: get(row) is wanted

    return filter_


def in_region(ask: Ask, value: str) -> Keeps:
    """Keeps rows with channels in a brain region: none, as the demo has no channels."""
    del ask, value
    return lambda row: False  # noqa: ARG005


ATLAS: Mapping[str, Filter] = dict.fromkeys(("atlas_name", "atlas_acronym", "atlas_id"), in_region)


def with_types(datasets_of: DatasetsOf) -> Filter:
    """Keeps rows with datasets of each of these types."""

    def filter_(ask: Ask, value: str) -> Keeps:
        wanted = set(value.split(","))
        return lambda row: wanted <= {each.dataset_type for each in datasets_of(ask.db, row)}

    return filter_


def with_qc(datasets_of: DatasetsOf) -> Filter:
    """Alone: rows with any dataset this good. Beside the filter `datasets`, it is that filter which heeds it."""

    def filter_(ask: Ask, value: str) -> Keeps:
        if "datasets" in ask.arguments:
            return lambda row: True  # noqa: ARG005
        limit = outcome(value)
        return lambda row: any(each.qc <= limit for each in datasets_of(ask.db, row))

    return filter_
