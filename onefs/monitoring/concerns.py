"""What a person should look at in the status of a mount that works all the same."""

from collections.abc import Mapping
from typing import Any

LITTLE_ROOM_BYTES = 100_000_000
"""With less than this free, the cache's disk is as good as full."""


def concerns(facts: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, each in a few words; none if all is well.

    Failures of single files do not count: they are no fault of the mount.
    """
    mode, cache, servers = facts["mode"], facts["cache"], facts["passed_over"]
    found = []
    if "reason" in mode and is_of_files(facts):
        found.append("changes of the folder's files are not noticed")
    elif "reason" in mode:
        found.append(f"is in mode {mode['effective']} instead of {mode['requested']}")
    if servers:
        found.append(f"{' and '.join(dict.fromkeys(each['server'] for each in servers))} is not asked for now")
    if "problem" in cache:
        found.append("the cache cannot be read")
    elif cache["free_bytes"] < max(LITTLE_ROOM_BYTES, cache["kept_free_bytes"]):
        found.append("the disk of the cache is full")
    if "warning" in facts["tables"]:
        is_missing = is_of_files(facts)
        found.append("not all of the folder is shown" if is_missing else "the tables may not be the right ones")
    crawlers = dict.fromkeys(each["program"] for each in facts.get("crawlers", ()))
    return [*found, *(f"{program} has very many files fetched" for program in crawlers)]


def is_of_files(facts: Mapping[str, Any]) -> bool:
    """Whether the tables in use were made of the files of a folder that has none of its own."""
    return bool(facts["tables"].get("indexed"))  # absent in mounts of an earlier version
