"""Owns what may be shown of a URL, neither a login nor a query, where signatures stand; and whom a login is for."""

import re

AUTHORITY_END = re.compile(r"[/?#]")


def server_name(url: str) -> str:
    """`host` or `host:port` of a URL; "" if it has none. Never raises, as it is there for error sentences."""
    return AUTHORITY_END.split(url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]


def origin(url: str) -> str:
    """Scheme, host and port of a URL, in lower case: what a login is for. Without a scheme it is taken for https."""
    scheme, separator, _ = url.partition("://")
    whole = url if separator else f"https://{url}"
    name = server_name(whole)
    return f"{scheme if separator else 'https'}://{name}".lower() if name else ""


def shown(url: str) -> str:
    """A URL without login, query and fragment."""
    scheme, separator, rest = url.partition("://")
    authority = AUTHORITY_END.split(rest, maxsplit=1)[0]
    path = re.split(r"[?#]", rest[len(authority) :], maxsplit=1)[0]
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{path}"
