"""The exceptions and warnings of the Python face. Each is an `OnefsError` too, and the built-in error that programs
written for ONE catch. Those that are errors of `requests` too are in `request_errors`.

`as_api_error` turns an error of the layers below into one of these; `api_errors` does that for a function.
"""

from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import ClassVar, ParamSpec, TypeVar

from onefs import errors
from onefs.errors import OnefsError

__all__ = [
    "ALFError", "ALFInvalid", "ALFMultipleCollectionsFound", "ALFMultipleObjectsFound", "ALFMultipleRevisionsFound",
    "ALFObjectNotFound", "ALFWarning", "AlyxSubjectNotFound", "NoDatabaseError", "OnefsError", "SeveralTagsError",
    "TableError", "UsageError", "api_errors", "as_api_error", "in_python",
]  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")


class ALFError(OnefsError):
    """What was asked for is not there, or not one thing. With `terse` the text has no explanation.

    One argument is the text; several are quoted and joined by commas.
    """

    explanation: ClassVar[str] = ""

    def __init__(self, *args: object, terse: bool = False) -> None:
        told = str(args[0]) if len(args) == 1 else ", ".join(f'"{each}"' for each in args)
        super().__init__(told)
        self.args = args
        self.terse = terse
        self.remedy = "" if terse else self.explanation

    def __str__(self) -> str:
        return " ".join(filter(None, (self.reason, self.remedy)))


class ALFObjectNotFound(ALFError):
    """The dataset, object or session is not there, or its file is not to be had."""

    explanation = "See what there is with list_datasets, list_collections or search."


class ALFMultipleObjectsFound(ALFError, AssertionError):
    """Several names, ids or sessions where one is wanted."""

    explanation = "Give a whole name, or a further part (attribute, namespace, extension) that only one of them has."


class ALFMultipleCollectionsFound(ALFError, AssertionError):
    """Several collections where one is wanted."""

    explanation = "Say which one with collection."


class ALFMultipleRevisionsFound(ALFError):
    """Several revisions where one is wanted."""

    explanation = "Say which one with revision."


class ALFInvalid(ALFError, ValueError):
    """A path or name that does not follow the ALF specification."""

    explanation = "Write names as [_namespace_]object.attribute[_timescale][.extra].extension."


class AlyxSubjectNotFound(ALFError):
    """Kept for its name, which programs written for ONE import."""

    explanation = "Check the subject's name with list_subjects."


class ALFWarning(Warning):
    """An edition was chosen or a part left out in a way that may surprise."""


class NoDatabaseError(OnefsError, NotImplementedError, AssertionError):
    """A question for Alyx, where there is no database or the mode is `local`."""

    default_remedy = "Use OneAlyx, in a mode other than local."


class SeveralTagsError(OnefsError, NotImplementedError):
    """Cache tables that are restricted to several tags."""

    default_remedy = "Load those of one tag: load_cache(tag=…)."


class UsageError(errors.UsageError, ValueError, AssertionError):
    """An argument that cannot be meant."""

    default_remedy = "See the documentation of the call."


class TableError(errors.TableError, KeyError):
    """A cache table cannot be used: damaged, or it lacks a needed column."""


_OURS: tuple[tuple[type[OnefsError], type[OnefsError]], ...] = (
    (errors.UsageError, UsageError),
    (errors.TableError, TableError),
)
_OF_SERVERS = (
    errors.UnreachableError,
    errors.AccessRefusedError,
    errors.UnknownRecordError,
    errors.BrokenAnswerError,
)


_IN_PYTHON = (
    ("See what is possible: onefs --help.", "See the documentation of the call."),
    ("Mount it once with --mode auto.", "Let it ask the server: one.mode = 'auto'."),
    ("Run onefs setup, or give --alyx-user and --alyx-password-file.",
     "Log in with ONE.setup(), or give ONE() username and password."),
    ("log in: onefs setup --alyx-user NAME", "log in: ONE.setup(base_url, username=NAME)"),
    ("(onefs setup, or --data-user and --data-password-file)",
     "(in a shell: onefs setup --data-user NAME; or in ONEFS_DATA_USER and ONEFS_DATA_PASSWORD)"),
    ("--alyx-user", "username"),
    ("--cache-dir", "cache_dir"),
    ("--verify warn", "the setting verify = warn"),
    ("onefs mode auto", "one.mode = 'auto'"),
    ("onefs refresh", "one.refresh_cache('refresh')"),
    ("onefs tables load", "one.load_cache()"),
    ("onefs tables reset", "one.reset_cache()"),
    ("onefs tables save DIR --clobber", "one.save_cache(DIR, clobber=True)"),
    ("onefs tables save --clobber", "one.save_cache(clobber=True)"),
    ("onefs tables save DIR", "one.save_cache(DIR)"),
    (" (onefs retry)", ""),
    ("; see when with onefs status", ""),
    ("; onefs status shows it", ""),
    (": onefs status shows it", ""),
    (", with the log of the mount (onefs log)", ""),
)  # fmt: skip
"""What remedies for a shell say, and what does the same in a program."""


def in_python(remedy: str) -> str:
    """A remedy that a program can follow: calls in place of commands."""
    for command, call in _IN_PYTHON:
        remedy = remedy.replace(command, call)
    return remedy


def as_api_error(error: OnefsError) -> OnefsError:
    """The same error as the class of the face for it, with a remedy for programs; itself if it is that already."""
    remedy = in_python(error.remedy)
    if isinstance(error, _OF_SERVERS) or (isinstance(error, errors.UsageError) and error.status):
        from onefs.request_errors import as_request_error  # requests is slow to import

        error = as_request_error(error)
    else:
        for base, ours in _OURS:
            if isinstance(error, base) and not isinstance(error, ours):
                return ours(error.reason, remedy, retry_after_s=error.retry_after_s)
    if remedy == error.remedy:
        return error
    told = copy(error)
    told.remedy = remedy
    return told


def api_errors(function: Callable[P, T]) -> Callable[P, T]:
    """The function, raising errors of the layers below as those of this module."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except OnefsError as error:
            told = as_api_error(error)
            if told is error:
                raise
            raise told from error

    return call
