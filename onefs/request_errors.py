"""Errors of servers for the Python face. Each is the error of `requests` too that programs written for ONE catch."""

import requests

from onefs import errors
from onefs.errors import OnefsError
from onefs.one_errors import UsageError


class UnreachableError(errors.UnreachableError, requests.ConnectionError):
    """A server cannot be reached."""


class TimedOutError(errors.TimedOutError, UnreachableError, requests.Timeout):
    """A server took too long to answer."""


class BadQuestionError(UsageError, requests.HTTPError):
    """The database does not understand the question. `response` has its status."""


class AccessRefusedError(errors.AccessRefusedError, requests.HTTPError):
    """The server refused the login or the permission. `response` has its status."""


class UnknownRecordError(errors.UnknownRecordError, requests.HTTPError):
    """The database has no such record. `response` has its status."""


class BrokenAnswerError(errors.BrokenAnswerError, requests.HTTPError):
    """The server's answer is not what was asked for. `response` has its status, where it sent one."""


_OURS: tuple[tuple[type[OnefsError], type[OnefsError]], ...] = (
    (errors.UsageError, BadQuestionError),
    (errors.TimedOutError, TimedOutError),
    (errors.UnreachableError, UnreachableError),
    (errors.AccessRefusedError, AccessRefusedError),
    (errors.UnknownRecordError, UnknownRecordError),
    (errors.BrokenAnswerError, BrokenAnswerError),
)
_STATUS = {BadQuestionError: 400, AccessRefusedError: 403, UnknownRecordError: 404, BrokenAnswerError: 500}


def as_request_error(error: OnefsError) -> OnefsError:
    """The error of a server as this module's class for it; itself if it is that already."""
    ours = next(ours for base, ours in _OURS if isinstance(error, base))
    if isinstance(error, ours):
        return error
    made = ours(error.reason, error.remedy, retry_after_s=error.retry_after_s)
    if isinstance(made, requests.HTTPError):
        response = requests.Response()
        response.status_code = error.status or _STATUS[type(made)]
        made.response = response
    return made
