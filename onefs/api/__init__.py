"""onefs for Python programs, with the names, arguments and answers of ONE.

The classes:
    factory (`ONE`), one (`One`), one_alyx (`OneAlyx`), webclient (`AlyxClient`, as `one.alyx`)
Their methods, as mixins, each on top of the one before:
    recording, loader (what all loading shares), loading, loading_aggregates; searching, listing, database_mixin (what
    `OneAlyx` asks of Alyx); converters (ids, paths, references, URLs)
Modules that ONE has too, for programs to import:
    cache (make and merge tables), converters, exceptions, io (ALF files), params, path, spec, util
Finding sessions and datasets:
    locating (by id, path, URL), references, dataset_choice (which dataset a call loads), dataset_lists (arguments of
    `load_datasets`), aggregates (datasets of no session), insertions (probes)
Tables and Alyx:
    tables_in_use, alyx_tables (the same with a database), alyx_queries, alyx_records (JSON as rows and paths),
    endpoints
Files:
    files (from datasets to verified files), mounted_files (below a mountpoint), downloads (into any folder)
Opening:
    source_arguments (from arguments to a source and its settings), setup, login
Helpers:
    list_arguments (a list in place of one value), pickling (pickles and copies of the objects), warning,
    stale_answers
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onefs.api.factory import ONE
    from onefs.api.one import One
    from onefs.api.one_alyx import OneAlyx

__all__ = ["ONE", "One", "OneAlyx"]


def __getattr__(name: str) -> Any:
    """The classes, imported when they are first asked for."""
    if name == "ONE":
        from onefs.api.factory import ONE as FACTORY

        return FACTORY
    if name == "One":
        from onefs.api.one import One

        return One
    if name == "OneAlyx":
        from onefs.api.one_alyx import OneAlyx

        return OneAlyx
    raise AttributeError(f"module 'onefs.api' has no attribute {name!r}")
