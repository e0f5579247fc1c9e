"""The errors of the Python face: what else they can be caught as, how they read, and what becomes of those below."""

import pickle
import re
import warnings

import one.alf.exceptions
import pytest
import requests

from onefs import errors
from onefs.alyx.connection import HOW_TO_LOG_IN, HOW_TO_RENEW
from onefs.api import exceptions
from onefs.fetch.failures import KINDS as CAUSES
from onefs.one_errors import ALFError, ALFObjectNotFound, OnefsError, UsageError, api_errors, in_python
from onefs.sources.tables_at_hand import MOVE_AWAY

KINDS = {
    "ALFError": Exception,
    "ALFObjectNotFound": ALFError,
    "ALFMultipleObjectsFound": (ALFError, AssertionError),
    "ALFMultipleCollectionsFound": (ALFError, AssertionError),
    "ALFMultipleRevisionsFound": ALFError,
    "ALFInvalid": (ALFError, ValueError),
    "NoDatabaseError": (NotImplementedError, AssertionError),
    "UsageError": (errors.UsageError, ValueError, AssertionError),
    "BadQuestionError": (UsageError, requests.HTTPError),
    "TableError": (errors.TableError, KeyError),
    "UnreachableError": (errors.UnreachableError, requests.ConnectionError),
    "TimedOutError": (errors.TimedOutError, requests.Timeout),
    "AccessRefusedError": (errors.AccessRefusedError, requests.HTTPError),
    "UnknownRecordError": (errors.UnknownRecordError, requests.HTTPError),
    "BrokenAnswerError": (errors.BrokenAnswerError, requests.HTTPError),
    "AlyxSubjectNotFound": ALFError,
}
ALF_KINDS = [name for name in KINDS if name.startswith(("ALF", "Alyx"))]


@pytest.mark.parametrize("name", KINDS)
def test_they_are_caught_as_programs_for_one_catch_them(name):
    kind, wanted = getattr(exceptions, name), KINDS[name]
    assert issubclass(kind, OnefsError)
    assert all(issubclass(kind, each) for each in (wanted if isinstance(wanted, tuple) else (wanted,)))


@pytest.mark.parametrize("name", ALF_KINDS)
def test_texts_are_quoted_if_there_are_several_and_explained_unless_terse(name):
    kind = getattr(exceptions, name)
    assert str(kind("It is not there.")) == f"It is not there. {kind.explanation}".strip()
    assert str(kind("a", "b", terse=True)) == '"a", "b"' == str(getattr(one.alf.exceptions, name)("a", "b", terse=True))
    for error in (kind("a", "b"), kind("a", terse=True)):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.args, again.terse) == (kind, str(error), error.args, error.terse)


def test_warnings_can_be_told_apart():
    with warnings.catch_warnings(), pytest.raises(exceptions.ALFWarning):
        warnings.simplefilter("error", exceptions.ALFWarning)
        warnings.warn("mixed revisions", exceptions.ALFWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("below", "kind", "status"),
    [
        (errors.UsageError, exceptions.UsageError, None),
        (errors.DamagedTableError, exceptions.TableError, None),
        (errors.UnreachableError, exceptions.UnreachableError, None),
        (errors.ConnectTimedOutError, exceptions.TimedOutError, None),
        (errors.AccessRefusedError, exceptions.AccessRefusedError, 403),
        (errors.UnknownRecordError, exceptions.UnknownRecordError, 404),
        (errors.OverloadedError, exceptions.BrokenAnswerError, 500),
    ],
)
def test_errors_of_the_layers_below_become_those_of_the_face(below, kind, status):
    @api_errors
    def call():
        raise below("It failed.", "Do this.", retry_after_s=3)

    with pytest.raises(kind) as caught:
        call()
    assert (caught.value.reason, caught.value.remedy) == ("It failed.", "Do this.")
    assert caught.value.retry_after_s == 3
    assert isinstance(caught.value.__cause__, below)
    if status:
        assert caught.value.response.status_code == status


SAID = [
    HOW_TO_LOG_IN,
    HOW_TO_RENEW,
    MOVE_AWAY,
    *(remedy for _, remedy in CAUSES),
    *(kind.default_remedy for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OnefsError)),
]


@pytest.mark.parametrize("remedy", sorted(set(SAID)))
def test_a_program_is_told_of_no_commands(remedy):
    assert not re.search(
        r"onefs (mode|refresh|tables|status|retry|log|--)|--(alyx|cache|verify|mode)", in_python(remedy)
    )


@pytest.mark.parametrize("kind", [errors.OfflineError, errors.UsageError, errors.AccessRefusedError, UsageError])
def test_a_remedy_for_a_shell_becomes_one_for_a_program(kind):
    @api_errors
    def call():
        raise kind("Mode local asks no server.", "Switch to mode auto first: onefs mode auto.", retry_after_s=3)

    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == "Mode local asks no server. Switch to mode auto first: one.mode = 'auto'."
    assert caught.value.retry_after_s == 3


@pytest.mark.parametrize("kind", [errors.MismatchError, errors.UnknownPartError, ALFObjectNotFound, ZeroDivisionError])
def test_others_pass_as_they_are(kind):
    error = kind("It failed.", "Do this.") if kind is errors.MismatchError else kind("It failed.")

    @api_errors
    def call():
        raise error

    with pytest.raises(kind) as caught:
        call()
    assert caught.value is error


def test_the_other_errors_are_found_in_the_same_place():
    assert exceptions.MismatchError is errors.MismatchError
    with pytest.raises(AttributeError, match="NoSuchError"):
        exceptions.NoSuchError  # noqa: B018
