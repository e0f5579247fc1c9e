"""Owns the errors of this machine's own limits, which say nothing about the server that was to be asked."""

import errno

from onefs.errors import CacheDamagedError

REMEDIES: dict[int | None, str] = {
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Raise the machine's limit of open files (fs.file-max).",
    errno.ENOMEM: "Free some memory.",
    errno.ENOBUFS: "Free some memory.",
}


def own_limit(what: str, error: BaseException) -> CacheDamagedError | None:
    """Our error if this machine has no descriptors or memory left for `what`; else None."""
    if not isinstance(error, OSError) or error.errno not in REMEDIES:
        return None
    text = error.strerror or str(error)
    reason = f"{what} cannot be read, as this machine is at a limit: {text[:1].lower()}{text[1:]}."
    return CacheDamagedError(reason, REMEDIES[error.errno])
