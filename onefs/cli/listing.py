"""The list of what would be fetched: names, sizes, and what is in the cache already."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onefs.alf import STATE_FOLDER
from onefs.cli.mounts import check_alive
from onefs.errors import NotInCatalogueError
from onefs.fuse.mounting import Mount
from onefs.text import counted, size_text, visible
from onefs.vfs.patterns import Pattern, Position, is_pattern

if TYPE_CHECKING:
    from onefs.daemon.fetching import Listed

_CACHED = (b"cached", b"verified", b"mismatch")


def print_listing(listed: Iterable["Listed"], *, as_json: bool) -> None:
    """Print files as they come, and what they are together."""
    files = size_bytes = cached_files = cached_bytes = unknown = 0
    found: list[dict[str, object]] = []
    for each in listed:
        files, size_bytes = files + 1, size_bytes + (each.size_bytes or 0)
        unknown += each.size_bytes is None
        if each.is_cached:
            cached_files, cached_bytes = cached_files + 1, cached_bytes + (each.size_bytes or 0)
        if as_json:
            found.append({"path": each.path, "size_bytes": each.size_bytes, "is_cached": each.is_cached})
        else:
            size = "?" if each.size_bytes is None else size_text(each.size_bytes)
            click.echo(f"{size:>10}  {'cached' if each.is_cached else '':6}  {visible(each.path)}")
    totals = {
        "total_files": files,
        "total_bytes": size_bytes,
        "cached_files": cached_files,
        "cached_bytes": cached_bytes,
        "files_of_unknown_size": unknown,
    }
    if as_json:
        click.echo(json.dumps({"files": found, **totals}, indent=1))
        return
    words = (
        f"{counted(files, 'file')}, {size_text(size_bytes)}; {size_text(size_bytes - cached_bytes)} of it to be fetched"
    )
    if cached_files:
        words += f"; in the cache already: {counted(cached_files, 'file')} ({size_text(cached_bytes)})"
    click.echo(f"{words}; of unknown size: {counted(unknown, 'file')}." if unknown else f"{words}.")


def files_in(mount: Mount, patterns: Sequence[str]) -> Iterator["Listed"]:
    """The files of a mount that paths and patterns mean. Raises `NotInCatalogueError` if one means none."""
    check_alive(mount)
    seen: set[str] = set()
    for text in patterns:
        is_found = False
        for path in _walk(mount.mountpoint, text):
            listed = _listed(mount.mountpoint, path)
            is_found = is_found or listed is not None
            if listed is not None and path not in seen:
                seen.add(path)
                yield listed
        if not is_found:
            what = "matches" if is_pattern(text) else "is in"
            raise NotInCatalogueError(
                f"No file of {mount.mountpoint} {what} {text}.", "List the folder above it to see what is there."
            )


def _walk(root: Path, text: str) -> Iterator[str]:
    """Paths of the files that are meant, from the root on, in the order of their names."""
    if (root / text.lstrip("/")).exists():
        yield from _below(root, text.strip("/"))
        return
    pattern = Pattern(text)
    below: list[tuple[str, Position]] = [("", pattern.start)]
    while below:
        path, positions = below.pop()
        if pattern.is_match(positions):
            yield from _below(root, path)
            continue
        name = pattern.only_name(positions)
        names = [name] if name is not None else _names(root / path)
        found = [(f"{path}/{each}" if path else each, pattern.after(positions, each)) for each in names]
        below += [each for each in reversed(found) if each[1] and (root / each[0]).exists()]


def _below(root: Path, top: str) -> Iterator[str]:
    below = [top]
    while below:
        path = below.pop()
        if (root / path).is_symlink():  # of a query folder, or by an identifier
            below.append(os.path.relpath(os.path.realpath(root / path), root))
        elif (root / path).is_dir():
            below += [f"{path}/{name}" if path else name for name in reversed(_names(root / path))]
        else:
            yield path


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name != STATE_FOLDER)  # noqa: PTH208
    except NotADirectoryError:
        return []


def _listed(root: Path, path: str) -> "Listed | None":
    """A dataset as the mount tells of it; None for a file that is none."""
    from onefs.daemon.fetching import Listed

    try:
        size = os.getxattr(root / path, "user.onefs.size")
        state = os.getxattr(root / path, "user.onefs.state")
    except OSError:
        return None
    return Listed(path, int(size) if size else None, state in _CACHED)
