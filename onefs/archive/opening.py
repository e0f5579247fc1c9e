"""Making a source ready to be mounted: finding out what is at its URL, and running the demo's server."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace

import platformdirs

from onefs.alf import TABLE_NAMES
from onefs.cache.atomic import cache_errors
from onefs.errors import UnreachableError
from onefs.modes import Mode
from onefs.progress import report
from onefs.settings import Settings
from onefs.sources.claims import claim, source_note, write_source_note
from onefs.sources.names import DEMO
from onefs.sources.source import Kind, Source, has_no_tables, kind_of_itself, prepare, resolve, url_of

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def opened(name: str, settings: Settings) -> Iterator[Source]:
    """The source of a name, with the demo's server running if it is that.

    The server of a URL is asked what it is, unless that is known from an earlier time: then no network is needed. The
    files of a folder without tables are indexed, unless that was done at an earlier time.
    """
    if name == DEMO:
        with _demo(settings) as source:
            yield source
        return
    url = url_of(name)
    source = _at_url(url, settings) if url and not kind_of_itself(url) else resolve(name, settings)
    if has_no_tables(source):
        from onefs.sources.folder_tables import with_tables  # what indexes is no use for other sources

        source = with_tables(source)
    yield source


@contextlib.contextmanager
def _demo(settings: Settings) -> Iterator[Source]:
    from onefs.demo.archive import make_archive  # what makes and serves the demo is slow to import
    from onefs.demo.server import start_demo

    home = platformdirs.user_cache_path("onefs") / DEMO
    report("preparing the demo archive")
    make_archive(home / "archive")
    with start_demo(home / "archive") as server:
        ours = replace(
            settings,
            cache_dir=settings.cache_dir or home / "cache",
            data_url=server.data_url,
            data_user=server.user,
            data_password=server.password,
            data_password_file=None,
            alyx_user=server.user,
            alyx_password=server.password,
            alyx_password_file=None,
            alyx_token="",
        )
        yield replace(resolve(server.url, ours, Kind.DATABASE), name=DEMO)


def _at_url(url: str, settings: Settings) -> Source:
    as_folder = resolve(url, replace(settings, tag="", mode=None))
    kind = _noted(as_folder)
    if kind is None and settings.mode is Mode.LOCAL and _tables_at_hand(as_folder, settings):
        return resolve(url, settings, Kind.DATABASE)
    if kind is None:
        kind = _found(as_folder, settings)
    return resolve(url, settings, kind)


def _found(as_folder: Source, settings: Settings) -> Kind:
    """What stands at a URL, found out and noted; with tables at hand, a database if its server cannot be reached."""
    from onefs.sources.probe import kind_at

    assert as_folder.tables_url is not None
    report(f"asking {as_folder.name} what it is")
    try:
        kind = kind_at(as_folder.tables_url, settings)
    except UnreachableError as error:
        if not _tables_at_hand(as_folder, settings):
            raise
        _log.warning("%s It is taken for a database.", error.reason)
        return Kind.DATABASE
    prepare(as_folder)
    claim(as_folder.tables_dir, as_folder.state_dir, as_folder.name)
    with cache_errors("what is known of the source", source_note(as_folder.state_dir)):
        write_source_note(as_folder.state_dir, as_folder.name, kind)
    return kind


def _noted(source: Source) -> Kind | None:
    """What was found earlier to stand at a source's URL. Raises `SourceError` if its cache is another source's."""
    note = source_note(source.state_dir)
    with cache_errors("what is known of the source", note):
        if not note.exists():
            return None
        claim(source.tables_dir, source.state_dir, source.name)
        kind = note.read_text(encoding="utf-8", errors="replace").partition("\n")[2].strip()
    return Kind(kind) if kind in set(Kind) else None


def _tables_at_hand(source: Source, settings: Settings) -> bool:
    folder = source.tables_dir / settings.tag
    return any((folder / table).exists() for table in TABLE_NAMES)
