"""The note in a cache's state directory that says which source the cache is for."""

from pathlib import Path

from onefs.alf import TABLE_NAMES
from onefs.cache.atomic import cache_errors, write_whole
from onefs.errors import SourceError
from onefs.sources.names import DEMO


def claim(tables_dir: Path, state_dir: Path, source: str) -> None:
    """Note whose tables a cache directory holds. Raises `SourceError` if they are another source's.

    Tables without a note are ONE's, or a user's, and are taken as they are. So are those with a damaged note, which is
    written anew.
    """
    note = source_note(state_dir)
    with cache_errors("the cache tables", note):
        owner = note.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip() if note.exists() else ""
        if owner == source:
            return
        if _may_be_a_source(owner) and any((tables_dir / table).exists() for table in TABLE_NAMES):
            raise SourceError(
                f"{tables_dir} holds the tables of {owner}, not of {source}.", "Choose another with --cache-dir."
            )
        write_source_note(state_dir, source)


def source_note(state_dir: Path) -> Path:
    """The file whose first line is the name of the source that a cache is for, and its second the kind, if known."""
    return state_dir / "source"


def write_source_note(state_dir: Path, source: str, kind: str = "") -> None:
    """Write the note about a cache's source whole. Raises OSError."""
    write_whole(source_note(state_dir), "".join(f"{line}\n" for line in (source, kind) if line).encode())


def _may_be_a_source(name: str) -> bool:
    is_one = name == DEMO or name.startswith(("/", "s3://", "http://", "https://"))
    return is_one and name.isprintable() and "\N{REPLACEMENT CHARACTER}" not in name
