"""The values of settings: how each is parsed from text, and written as text."""

import functools
import ipaddress
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

Parser = Callable[[str], object]

LONGEST_S = 366 * 86400.0
SMALLEST_BLOCK_BYTES = 64 << 10
LARGEST_BLOCK_BYTES = 64 << 20
_COUNT = re.compile(r"[0-9]{1,6}")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d)?")
_SIZE = re.compile(r"([0-9]{1,12})\s*([kmgtKMGT]?)(?:i?B)?")
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_OCTAL = re.compile(r"0o?([0-7]{3})")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_ADDRESS = re.compile(r"(?:(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[\w.-]*)):)?(?P<port>[0-9]{1,5})", re.ASCII)
_YES_NO = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
LOOPBACK = "127.0.0.1"
_DAY_S, _HOUR_S, _MINUTE_S = 86400, 3600, 60


class Permissions(int):
    """Permission bits of files or directories; as text in octal."""

    def __str__(self) -> str:
        return f"{int(self):04o}"


def duration_s(text: str) -> float:
    """Seconds of `2`, `2s`, `500ms`, `5m`, `24h`, `7d`."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError("a duration such as 2s, 500ms, 5m or 24h")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST_S:
        raise ValueError("a duration of at most a year")
    return seconds


def timeout_s(text: str) -> float:
    """Seconds of a duration above 0."""
    seconds = duration_s(text)
    if not seconds:
        raise ValueError("a duration above 0, such as 2s or 5m")
    return seconds


def yes_or_no(text: str) -> bool:
    """Whether a text says yes: `on` or `off`, `true` or `false`, `yes` or `no`, `1` or `0`."""
    try:
        return _YES_NO[text.strip().lower()]
    except KeyError:
        raise ValueError("on or off") from None


def count(text: str) -> int:
    """A whole number from 1 to 999999."""
    if not _COUNT.fullmatch(text.strip()) or int(text) < 1:
        raise ValueError("a whole number from 1 to 999999")
    return int(text)


def count_or_0(text: str) -> int:
    """A whole number from 0 to 999999."""
    if not _COUNT.fullmatch(text.strip()):
        raise ValueError("a whole number from 0 to 999999")
    return int(text)


def size_bytes(text: str) -> int:
    """Bytes of `512K`, `64M`, `1G`, `2T` or a plain number of bytes."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError("a size in whole bytes, K, M, G or T, such as 512K, 64M or 1G")
    return int(match[1]) * _BYTES[match[2].upper()]


def block_bytes(text: str) -> int:
    """Bytes of a size from 64K to 64M."""
    size = size_bytes(text)
    if not SMALLEST_BLOCK_BYTES <= size <= LARGEST_BLOCK_BYTES:
        raise ValueError("a size from 64K to 64M")
    return size


@dataclass(frozen=True, slots=True)
class Choice:
    """Parses one of several words, in whatever case."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        for word in self.words:
            if text.strip().lower() == word.lower():
                return word
        raise ValueError("one of " + ", ".join(self.words))


def one_of(*words: str) -> Choice:
    """A parser of one of several words."""
    return Choice(words)


LOG_LEVELS = ("debug", "info", "warning", "error")


@functools.cache
def log_parts() -> tuple[str, ...]:
    """The parts of onefs that can have a level of their own: its packages."""
    return tuple(sorted(file.parent.name for file in Path(__file__).parent.glob("*/__init__.py")))


def levels_by_part(text: str) -> dict[str, str]:
    """The levels in a text such as `info,transports=debug`, by part; that of all others under "", `info` if absent."""
    by_part = {"": "info"}
    for word in filter(None, (word.strip().lower() for word in text.split(","))):
        part, separator, level = word.rpartition("=")
        part = part.strip()
        if separator and part not in log_parts():
            raise ValueError(
                f"a list of levels: {part!r} is no part of onefs, whose parts are {', '.join(log_parts())}"
            )
        if level.strip() not in LOG_LEVELS:
            raise ValueError(
                f"a level ({', '.join(LOG_LEVELS)}); parts may have levels of their own: info,transports=debug"
            )
        by_part[part] = level.strip()
    return by_part


@dataclass(frozen=True, slots=True)
class LogLevels:
    """Parses the levels of the log. Gives them in one spelling. `words` are the levels, for completion."""

    words: tuple[str, ...] = LOG_LEVELS

    def __call__(self, text: str) -> str:
        by_part = levels_by_part(text)
        first = by_part.pop("")
        return ",".join([first, *(f"{part}={level}" for part, level in sorted(by_part.items()))])


log_levels = LogLevels()


def revision_bound(text: str) -> str:
    """A text as revisions are compared with it, mostly a date; "" for `none`. Raises ValueError."""
    text = text.strip()
    if not text or not text.isprintable():
        raise ValueError("a date such as 2024-04-01, another text to compare revisions with, or none")
    return "" if text.lower() == "none" else text


@dataclass(frozen=True, slots=True)
class PermissionsParser:
    """Parses octal text. TOML's 0o644 comes as "420", so the leading 0 is required."""

    owner_has: int
    """The bits of the owner that must be set."""

    def __call__(self, text: str) -> Permissions:
        match = _OCTAL.fullmatch(text.strip())
        if not match or int(match[1], 8) & self.owner_has != self.owner_has:
            example = "0755" if self.owner_has & stat.S_IXUSR else "0644"
            raise ValueError(f'octal permissions with a 0 before them that let the owner in, such as "{example}"')
        return Permissions(match[1], 8)


def path(text: str) -> Path:
    """The absolute path of a text that may begin with ~."""
    if not text or "\0" in text:
        raise ValueError("a path")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("a path; there is no such user") from None


def any_text(text: str) -> str:
    """The text as it is."""
    return text


def name(text: str) -> str:
    """The text as it is; of a name."""
    return text


def url(text: str) -> str:
    """The text as it is; of a URL."""
    return text


def proxy(text: str) -> str:
    """The URL of a proxy with its scheme, so that a login in it is seen to be one."""
    return text if not text or "://" in text else f"http://{text}"


@dataclass(frozen=True, slots=True)
class Address:
    """A host, by name or number, and a TCP port to listen on."""

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


def listen_address(text: str) -> Address | None:
    """Where to listen: `9100` and `:9100` mean this machine only; None for `off`. Raises ValueError."""
    text = text.strip()
    if text.lower() in ("", "off", "none", "0"):
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 1 << 16 or not (match["ipv6"] is None or _is_ipv6(match["ipv6"])):
        raise ValueError("a port from 1 to 65535, an address such as 0.0.0.0:9100 or [::1]:9100, or off")
    return Address(match["ipv6"] or match["host"] or LOOPBACK, int(match["port"]))


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


_METAVARS: dict[Parser, str] = {
    duration_s: "DURATION",
    timeout_s: "DURATION",
    size_bytes: "SIZE",
    block_bytes: "SIZE",
    count: "N",
    count_or_0: "N",
    yes_or_no: "on|off",
    revision_bound: "DATE",
    path: "PATH",
    name: "NAME",
    url: "URL",
    proxy: "URL",
    listen_address: "HOST:PORT",
}

FORMS = {
    "SIZE": "a number of bytes, or a number with K, M, G or T, such as 64M; K is 1024 bytes",
    "DURATION": "a number of seconds, or a number with ms, s, m, h or d, such as 500ms or 24h",
    "OCTAL": "permissions as chmod takes them, with a 0 before them, such as 0755",
    "HOST:PORT": "an address such as 0.0.0.0:9100 or [::1]:9100, a port alone (for this machine only), or off",
}
"""The forms of values, by their names in help texts."""
_OF_TEXT = (any_text, name, url, proxy, path)


def takes_text_only(parse: Parser) -> bool:
    """Whether TOML must give a string: a number or a date there could read differently from how it was written."""
    return parse in _OF_TEXT


def metavar(parse: Parser) -> str:
    """What stands for the value in help: its choices, or a word for its form such as SIZE."""
    if isinstance(parse, Choice):
        return "|".join(parse.words)
    return "OCTAL" if isinstance(parse, PermissionsParser) else _METAVARS.get(parse, "TEXT")


def choices(parse: Parser) -> Sequence[str]:
    """The words to choose from; empty if other values are possible."""
    if parse is yes_or_no:
        return ("on", "off")
    return parse.words if isinstance(parse, Choice) else ()


def value_text(parse: Parser, value: object) -> str:
    """A value as people write it and as `parse` reads it again: `64M`, `24h`, `on`; "" for None."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        form = metavar(parse)
        if form == "SIZE":
            return size_value_text(int(value))
        if form == "DURATION":
            return duration_value_text(value)
    return "" if value is None else str(value)


def size_value_text(size: int) -> str:
    """A size in the largest unit that gives a whole number: `64M`."""
    unit = next(unit for unit in reversed(_BYTES) if size and size % _BYTES[unit] == 0) if size else ""
    return f"{size // _BYTES[unit]}{unit}"


def duration_value_text(seconds: float) -> str:
    """A duration in the largest unit that gives a whole number: `24h`, `90s`. Days are used from two on."""
    if seconds != int(seconds):
        thousandths = Decimal(repr(seconds)) * 1000
        return f"{thousandths:.0f}ms" if thousandths == int(thousandths) else f"{Decimal(repr(seconds)):f}s"
    whole = int(seconds)
    if whole >= 2 * _DAY_S and whole % _DAY_S == 0:
        return f"{whole // _DAY_S}d"
    for unit_s, unit in ((_HOUR_S, "h"), (_MINUTE_S, "m")):
        if whole and whole % unit_s == 0:
            return f"{whole // unit_s}{unit}"
    return f"{whole}s"
