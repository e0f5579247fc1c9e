"""Facts about the content of a mount, for its status: the cache, transfers, servers that are away, totals."""

import dataclasses
import shutil
import time
from typing import TYPE_CHECKING, Any

from onefs.text import moment

if TYPE_CHECKING:
    from onefs.fetch.access import Content
    from onefs.fetch.keeping import Keeping
    from onefs.sources.source import Source


def cache_facts(source: "Source", keeping: "Keeping") -> dict[str, Any]:
    """How much is in the cache, in all and by lab, and its limits."""
    usage, labs = keeping.usage(), keeping.labs()
    facts: dict[str, Any] = {
        "directory": str(source.data_dir),
        "state": str(source.state_dir),
        "used_bytes": usage.used_bytes,
        "used_files": usage.files,
        "most_bytes": usage.limits.cache_size_bytes,
        "kept_free_bytes": usage.limits.min_free_bytes,
        "evicted_bytes": usage.evicted_bytes,
        "evicted_files": usage.evicted_files,
        "pinned_files": len(keeping.pinned()),
        "labs": None
        if labs is None
        else [{"lab": lab, "bytes": each.size_bytes, "files": each.files} for lab, each in labs],
    }
    try:
        facts["free_bytes"] = shutil.disk_usage(source.data_dir).free
    except OSError as error:
        facts["problem"] = f"cannot be read: {error.strerror}"
    return facts


def passed_over_facts(content: "Content") -> list[dict[str, Any]]:
    """The servers that are not asked now, or asked last, as they failed or sent `Retry-After`."""
    now_s = time.time()
    return [
        {
            "server": each.server,
            "role": each.role,
            "since_s": round(each.since_s),
            "left_s": round(each.left_s),
            "asked_again": moment(now_s + each.left_s),
            "reason": each.reason,
            "waiting": list(each.waiting),
        }
        for each in content.passed_over()
    ]


def transfer_facts(content: "Content") -> list[dict[str, Any]]:
    """What is fetched or verified now."""
    return [
        {
            "path": transfer.path,
            "done_bytes": transfer.done_bytes,
            "total_bytes": transfer.total_bytes,
            "rate_bytes_per_s": round(transfer.rate_bytes_per_s),
            "left_s": None if transfer.left_s is None else round(transfer.left_s, 1),
            "host": transfer.host,
        }
        for transfer in content.transfers()
    ]


def totals_facts(content: "Content") -> dict[str, Any]:
    """What was fetched and what failed since the start."""
    return dataclasses.asdict(content.totals())
