"""Which columns of a table's file make which of its frame, and which are kept beside these. Imports no pandas."""

from collections.abc import Collection, Mapping, Sequence

from onefs.catalogue.schema import DATASET_COLUMNS, SESSION_COLUMNS, Column

ID_COLUMNS = (
    Column("eid", (("eid",), ("eid_0", "eid_1")), needed=False),
    Column("id", (("id",), ("id_0", "id_1")), needed=False),
)
_PROBE_COLUMNS = tuple(
    Column(name, (*pairs, (level,)))
    for name, pairs, level in (
        ("eid", (("eid",), ("eid_0", "eid_1")), "__index_level_0__"),
        ("id", (("id",), ("id_0", "id_1")), "__index_level_1__"),
    )
)
COLUMNS: Mapping[str, Sequence[Column]] = {
    "sessions": SESSION_COLUMNS,
    "datasets": DATASET_COLUMNS,
    "insertions": _PROBE_COLUMNS,
}
KEPT_SOURCES = frozenset(("exists_aws", "exists_flatiron"))
"""Columns that stay although another is made of them."""

DROPPED = {"datasets": frozenset(("session_path",))}


def further_columns(names: Collection[str], table: str) -> list[str]:
    """The columns in a table's file that frames and records made from the index lack."""
    known = {one for column in COLUMNS[table] for group in column.sources for one in group}
    return [one for one in names if one in KEPT_SOURCES or one not in known | DROPPED.get(table, frozenset())]
