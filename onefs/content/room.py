"""Owns how much the cache may hold: every byte that is to be written is asked for here first."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What the cache is held to: so many bytes at most, so many left free on its disk. 0 is no limit."""

    cache_size_bytes: int = 0
    min_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in the cache that onefs fetched. None for bytes and files: not counted, as no limit asks for it.

    What was evicted counts since this process began.
    """

    used_bytes: int | None
    files: int | None
    limits: Limits
    evicted_bytes: int
    evicted_files: int


class Room:
    """The room in a cache directory. Safe to use from several threads, and by several processes at once."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def take(self, size_bytes: int) -> None:
        """Count bytes that are about to be written, evicting others if a limit asks for it; costs little.

        Raises NoRoomError if no room can be made, StoppedError, or OSError.
        """

    def give_back(self, size_bytes: int) -> None:
        """Bytes that were taken were not written, or have gone again."""
