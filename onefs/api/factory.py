"""`ONE`: makes a `One` or a `OneAlyx`, whichever the arguments mean."""

import functools
import os
import warnings
from typing import TYPE_CHECKING, Any

from onefs import __version__
from onefs.api import source_arguments
from onefs.api.one import One
from onefs.errors import UsageError
from onefs.modes import Mode
from onefs.one_errors import api_errors

if TYPE_CHECKING:
    from onefs.api.one_alyx import OneAlyx
    from onefs.api.setup import KnownDatabases

OF_A_DATABASE = ("base_url", "username", "password", "token")


class _Factory:
    """What `ONE` is. Called again with the same arguments it returns the same object, state and all."""

    version = __version__

    def __init__(self) -> None:
        self._made = functools.lru_cache(maxsize=1)(_make)
        self.cache_clear = self._made.cache_clear
        self.cache_info = self._made.cache_info

    def __repr__(self) -> str:
        return "ONE"

    @api_errors
    def __call__(self, *, mode: str = "auto", wildcards: bool = True, **kwargs: Any) -> "One | OneAlyx":
        """A `OneAlyx` if any of `base_url`, `username`, `password`, `token` is given, or no `cache_dir`.

        Also for a `cache_dir` that onefs or ONE has for a database; for another one `One`. `offline=True` is
        `mode='local'`. Raises `ValueError` for mode `remote` or `refresh` without a database.
        """
        if "offline" in kwargs:
            warnings.warn("offline is deprecated: give mode='local'.", FutureWarning, stacklevel=3)
            mode = Mode.LOCAL if kwargs.pop("offline") else mode
        given = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in kwargs.items()}
        return self._made(mode=source_arguments.mode_of(mode).value, wildcards=wildcards, **given)

    @api_errors
    def setup(self, base_url: str | None = None, **kwargs: Any) -> "KnownDatabases":
        """Set up a database as `OneAlyx.setup` does, and return the map of databases; `ONE()` is made anew then."""
        from onefs.api.one_alyx import OneAlyx
        from onefs.api.setup import known_databases

        self.cache_clear()
        OneAlyx.setup(base_url, **kwargs)
        return known_databases()


def _make(*, mode: str, wildcards: bool, **kwargs: Any) -> "One | OneAlyx":
    cache_dir = kwargs.get("cache_dir")
    is_named = any(kwargs.get(name) is not None for name in OF_A_DATABASE)
    if cache_dir is not None and not is_named:
        base_url = source_arguments.database_in(cache_dir)
        if not base_url:
            return _of_folder(mode, wildcards, kwargs)
        kwargs["base_url"] = base_url
    from onefs.api.one_alyx import OneAlyx

    return OneAlyx(mode=mode, wildcards=wildcards, **kwargs)


def _of_folder(mode: str, wildcards: bool, kwargs: dict[str, Any]) -> One:
    for name in ("silent", "cache_rest", *OF_A_DATABASE):
        kwargs.pop(name, None)
    unknown = sorted(kwargs.keys() - {"cache_dir", "tables_dir"})
    if unknown:
        raise UsageError(f"ONE has no parameter {', '.join(unknown)}.", "Leave it out.")
    return One(mode=mode, wildcards=wildcards, **kwargs)


ONE = _Factory()
