"""How a failure reads."""

import inspect
import pickle

import pytest

from onefs import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_is_a_sentence_and_its_remedy(kind: type[errors.OnefsError]) -> None:
    error = kind("The disk is full.", "Free some space.")
    assert str(error) == "The disk is full. Free some space."
    assert (error.reason, error.remedy) == ("The disk is full.", "Free some space.")
    assert str(kind("The disk is full.")) == "The disk is full."
    assert isinstance(error, errors.OnefsError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert kind.__doc__
