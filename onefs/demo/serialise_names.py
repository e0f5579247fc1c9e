"""Owns how the rows of which hardly more than the name is known look as JSON."""

from onefs.demo.rows import LabRow, NamedRow, RevisionRow, TagRow
from onefs.demo.serialise import Json, Serialiser


def lab(_: Serialiser, row: LabRow) -> Json:
    """A lab."""
    return {
        "name": row.name,
        "institution": "",
        "address": "",
        "timezone": "UTC",
        "repositories": list(row.repositories),
        "reference_weight_pct": 0.0,
        "zscore_weight_pct": 0.0,
        "json": None,
    }


def project(_: Serialiser, row: NamedRow) -> Json:
    """A project."""
    return {"name": row.name, "description": "", "users": []}


def dataset_type(_: Serialiser, row: NamedRow) -> Json:
    """A dataset type."""
    return {
        "id": row.id,
        "name": row.name,
        "created_by": None,
        "description": f"The {row.name.partition('.')[2]} of {row.name.partition('.')[0]}",
        "filename_pattern": f"*{row.name}*",
    }


def tag(_: Serialiser, row: TagRow) -> Json:
    """A release."""
    return {
        "id": row.id,
        "json": None,
        "name": row.name,
        "description": row.description,
        "protected": row.protected,
        "public": row.public,
        "hash": row.hash,
    }


def revision(_: Serialiser, row: RevisionRow) -> Json:
    """A revision."""
    return {"id": row.id, "json": None, "name": row.name, "description": "", "created_datetime": row.created}
