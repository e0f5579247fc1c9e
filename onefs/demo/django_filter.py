"""Owns the `django` argument: pairs of field and value in Django's words, as a test that a row passes or not."""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from onefs.demo.database import Database
from onefs.demo.resources import Ask, Field, Filter, Keeps, RestError, as_day, as_uuid

Compare = Callable[[object, object], bool]


def _text(compare: Callable[[str, str], bool], *, fold: bool) -> Compare:
    """A comparison of texts; a value that is none compares as none does."""

    def both(found: object, wanted: object) -> bool:
        left, right = str(found), str(wanted)
        return compare(left.lower(), right.lower()) if fold else compare(left, right)

    return lambda found, wanted: found is not None and both(found, wanted)


def _ordered(compare: Callable[[Any, Any], bool]) -> Compare:
    return lambda found, wanted: found is not None and compare(found, wanted)


LOOKUPS: Mapping[str, Compare] = {
    "exact": operator.eq,
    "iexact": _text(operator.eq, fold=True),
    "contains": _text(operator.contains, fold=False),
    "icontains": _text(operator.contains, fold=True),
    "startswith": _text(str.startswith, fold=False),
    "istartswith": _text(str.startswith, fold=True),
    "endswith": _text(str.endswith, fold=False),
    "iendswith": _text(str.endswith, fold=True),
    "regex": _text(lambda text, pattern: bool(re.search(pattern, text)), fold=False),
    "iregex": _text(lambda text, pattern: bool(re.search(pattern, text, re.IGNORECASE)), fold=False),
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
}
PARSED = ("exact", "gt", "gte", "lt", "lte")
"""Lookups that compare values; the others compare texts."""
MANY = "in"
ABSENT = "isnull"
_OUTSIDE_COMMA = re.compile(r",(?![^\[(]*[\])])")


def django(fields: Mapping[str, Field]) -> Filter:
    """The filter over these fields. Pairs are all needed; a field after `~` must not match."""

    def filter_(ask: Ask, value: str) -> Keeps:
        tests = [_test(ask.db, fields, name, wanted) for name, wanted in _pairs(value)]
        return lambda row: all(test(row) for test in tests)

    return filter_


def _pairs(text: str) -> Iterator[tuple[str, object]]:
    """Field, value, field, value…; commas within brackets do not part. Raises `RestError`."""
    parts = _OUTSIDE_COMMA.split(text)
    if len(parts) % 2:
        raise RestError.fault("list index out of range")
    seen: set[str] = set()
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        if name in seen:
            raise RestError.fault(f'Duplicated fields in "{text}"')
        seen.add(name)
        yield name, _value(value)


def _value(text: str) -> object:
    """A value as Alyx understands it: a word, a number, a list."""
    words = {"none": None, "true": True, "false": False}
    if text == "None" or text.lower() in ("true", "false"):
        return words[text.lower()]
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    if text[:1] + text[-1:] in ("()", "[]"):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise RestError.fault(str(error)) from error
    return text


def _test(db: Database, fields: Mapping[str, Field], name: str, wanted: object) -> Keeps:
    wanted_match = not name.startswith("~")
    field, lookup = _resolve(fields, name.removeprefix("~"))
    if lookup == ABSENT or wanted is None:
        absent = bool(wanted) if lookup == ABSENT else True
        return lambda row: (all(each is None for each in field.values(db, row)) == absent) == wanted_match
    if lookup == MANY:
        many = wanted if isinstance(wanted, list | tuple | set) else str(wanted)
        options = {field.parse(each) for each in many}
        return lambda row: any(each in options for each in field.values(db, row)) == wanted_match
    if lookup in ("regex", "iregex"):
        _check_pattern(str(wanted))
    parsed = field.parse(wanted) if lookup in PARSED else str(wanted)
    compare = LOOKUPS[lookup]
    return lambda row: any(compare(each, parsed) for each in field.values(db, row)) == wanted_match


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise RestError.fault(f"invalid regular expression: {error}") from error


def _resolve(fields: Mapping[str, Field], name: str) -> tuple[Field, str]:
    """The field and the lookup that a name stands for. Raises `RestError`."""
    if name in fields:
        return fields[name], "exact"
    known, _, lookup = name.rpartition("__")
    if known in fields and (lookup in LOOKUPS or lookup in (MANY, ABSENT)):
        return fields[known], lookup
    choices = ", ".join(sorted({each.partition("__")[0] for each in fields} - {"pk"}))
    raise RestError.fault(f"Cannot resolve keyword '{name.partition('__')[0]}' into field. Choices are: {choices}")


def uuid(value: object) -> str:
    """How an id is compared. Raises `RestError`."""
    found = as_uuid(str(value))
    if found is None:
        raise RestError.fault(f"['“{value}” is not a valid UUID.']")
    return found


def numeric(value: object) -> float:
    """How a number is compared. Raises `RestError`."""
    try:
        return float(str(value))
    except ValueError as error:
        raise RestError.fault(f"Field expected a number but got '{value}'.") from error


def truth(value: object) -> bool:
    """How what is true or false is compared. Raises `RestError`."""
    if value in (True, False, 1.0, 0.0):
        return bool(value)
    raise RestError.fault(f"['“{value}” value must be either True or False.']")


def day(value: object) -> str:
    """How a date is compared. Raises `RestError`."""
    return as_day(value)
