"""Owns what may be shown of a URL: neither a login nor a query, where signatures stand."""

import re

AUTHORITY_END = re.compile(r"[/?#]")


def server_name(url: str) -> str:
    """`host` or `host:port` of a URL; "" if it has none. Never raises, as it is there for error sentences."""
    return AUTHORITY_END.split(url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]


def shown(url: str) -> str:
    """A URL without login, query and fragment."""
    scheme, separator, rest = url.partition("://")
    authority = AUTHORITY_END.split(rest, maxsplit=1)[0]
    path = re.split(r"[?#]", rest[len(authority) :], maxsplit=1)[0]
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{path}"
