"""File systems without a daemon: their `.onefs` has all its files, which tell nothing, and knows no command."""

from collections.abc import Mapping

from onefs.daemon.logs import MemoryLog
from onefs.fetch.access import Content
from onefs.fuse.errnos import errno_name
from onefs.modes import Mode
from onefs.recording.recorder import Recorder
from onefs.vfs.control import Daemon, control_directory
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.forest import Forest
from onefs.vfs.journal import Journal
from onefs.vfs.links import Resolver
from onefs.vfs.nodes import Directory
from onefs.vfs.tree import Tree


def silent_control(journal: Journal, recorder: Recorder | None = None) -> Directory:
    """The folder `.onefs`."""
    silent = Daemon(
        status=str,
        status_json=str,
        metrics=str,
        settings=str,
        log=MemoryLog(),
        mode=lambda: Mode.AUTO,
        pinned=str,
        commands={},
    )
    return control_directory(silent, journal, recorder)


def file_system_of(
    root: Tree,
    content: Content,
    mode: Mode,
    *,
    views: Mapping[str, Mapping[str, Tree]] | None = None,
    links: Mapping[str, Resolver] | None = None,
    recorder: Recorder | None = None,
) -> FileSystem:
    """A file system that shows a tree, and views and links in `.onefs`."""
    journal = Journal(errno_name)
    forest = Forest(root, silent_control(journal, recorder), views or {}, links or {})
    return FileSystem(forest, content, journal, lambda: mode, serves_mismatches=False, recorder=recorder)
