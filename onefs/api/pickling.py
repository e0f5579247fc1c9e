"""Pickles and copies of `One`, `OneAlyx` and `AlyxClient`: what they were opened with, which is opened anew."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from onefs.one_errors import api_errors


class OpenedAnew:
    """An object whose copies are opened with the same arguments; they share no files, locks or connections.

    A pickle holds no password and no token: its copy logs in with what is kept for the same user.
    """

    _copied: ClassVar[tuple[str, ...]]
    """The attributes that are set in a copy once it is open."""

    def _opened_with(self, *, with_secrets: bool) -> Mapping[str, Any]:
        """The arguments of `_open_anew` that make an object like this one."""
        raise NotImplementedError

    @classmethod
    def _open_anew(cls, **arguments: Any) -> Self:
        """Another object, opened with these. It asks no server if its tables are at hand."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _opened, (type(self), self._opened_with(with_secrets=False), self._attributes())

    def __copy__(self) -> Self:
        copy = _opened(type(self), self._opened_with(with_secrets=True), self._attributes())
        assert isinstance(copy, type(self)), "it is of the same class"
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def _attributes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._copied}


@api_errors
def _opened(kind: type[OpenedAnew], arguments: Mapping[str, Any], attributes: Mapping[str, Any]) -> OpenedAnew:
    made = kind._open_anew(**arguments)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made
