"""Owns the choice of the transport that reads a location, by the scheme of its URL."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from onefs.errors import BrokenAnswerError
from onefs.transports.base import Body, Location, Transport


class SchemeTransport:
    """Reads locations of several kinds, for example `{"http": http, "https": http, "file": file}`."""

    def __init__(self, transports: Mapping[str, Transport]) -> None:
        self._transports = dict(transports)

    def open(
        self, location: Location, start: int = 0, edition: str = "", end: int | None = None
    ) -> AbstractContextManager[Body]:
        """Begin reading at byte `start`; see `Transport.open`."""
        scheme = location.url.partition(":")[0].lower()
        transport = self._transports.get(scheme)
        if transport is None:
            known = ", ".join(sorted(self._transports))
            raise BrokenAnswerError(f"An address of the kind {scheme}: cannot be read, only {known}.")
        return transport.open(location, start, edition, end)

    def close(self) -> None:
        """Close every transport once."""
        for transport in {id(transport): transport for transport in self._transports.values()}.values():
            transport.close()
