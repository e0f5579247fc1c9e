"""The settings that each verb uses, by key. It has no flags for the others, as they would change nothing."""

from onefs.settings import Group, table


def _of(*groups: Group) -> frozenset[str]:
    return frozenset(entry.key for entry in table() if entry.group in groups)


ALL = _of(*Group)
_S3 = frozenset({"s3_endpoint", "s3_region", "s3_profile"})
_REQUESTS = frozenset({"connect_timeout", "read_timeout", "retry_max", "proxy"})
_DATABASE = frozenset({"cache_rest", "default_expiry"})
_OPENING = (
    frozenset({"mode", "tag", "data_url", "cache_dir", "trust_cache", "slow_limit"})
    | _S3
    | _of(Group.LOGIN)
    | _REQUESTS
)
_FETCHING = frozenset(
    {
        "uuid_filenames",
        "verify",
        "cache_size",
        "cache_min_free",
        "whole_file_max",
        "block_size",
        "http_dl_threads",
        "max_transfers",
        "connections",
        "report_mismatch",
    }
)

MOUNT_ONLY = _of(Group.MOUNT, Group.LOGGING, Group.OPERATION) | {"view", "open_wait"}
"""The settings of a replay that it uses only if it mounts."""
SEARCH = _OPENING | _DATABASE | {"cache_expiry"}
LIST = SEARCH | _of(Group.VIEW)
INFO = LIST | {"remote_names"}
FETCH = INFO | _FETCHING
DESCRIBE = frozenset({"mode", "alyx_user", "alyx_password_file", "cache_dir", "trust_cache"}) | _REQUESTS | _DATABASE
DOCTOR = _OPENING | _DATABASE | {"remote_names", "allow_other"}
SETUP = _S3 | {"alyx_user", "alyx_password_file", "data_user", "data_password_file", "data_url", "cache_dir"}
REPLAY = ALL - {"as_of", "qc", "ignore_qc_not_set", "report_mismatch", "cache_expiry", "refresh_interval"}
"""A replay shows all that its manifest lists, and asks for nothing newer."""
DEMO = ALL - _of(Group.LOGIN) - _S3 - {"data_url"}
"""The demo brings its own server, which needs no login or address."""
