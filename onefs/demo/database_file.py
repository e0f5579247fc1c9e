"""`database.json`: what an archive's database knows and no table says. Every part of it may be left out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

DATABASE_FILE = "database.json"


@dataclass(frozen=True, slots=True)
class User:
    """Who may log in. A `public` user can change nothing."""

    username: str
    password: str = field(repr=False)
    public: bool = False


@dataclass(frozen=True, slots=True)
class Tag:
    """A release. `datasets` are ids; None means those of its own tables."""

    name: str
    description: str = ""
    protected: bool = False
    public: bool = True
    hash: str | None = None
    datasets: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """A place of files: those of the lab `of`, or of "aggregates". A `data_url` without a host is on this server."""

    name: str
    of: str
    globus_path: str
    hostname: str = ""
    data_url: str | None = None
    globus_is_personal: bool = False
    globus_endpoint_id: str | None = None
    json: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class BaseSession:
    """A session without a number, in no table. `date` is YYYY-MM-DD."""

    id: str
    lab: str
    subject: str
    date: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A dataset of no session, in no table. `path` is relative to the archive's `aggregates/`."""

    id: str
    path: str
    size_bytes: int | None
    md5: str


USERS = (User("demo", "demo"), User("member", "member"), User("public", "public", public=True))


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """The contents. `tags`, `repositories` None: made from the tables. `only_on`: dataset id to repositories' names.

    `subject_labs`: the lab that a subject is in now, where that is not the lab of its newest session.
    """

    users: Sequence[User] = USERS
    tags: Sequence[Tag] | None = None
    repositories: Sequence[Repository] | None = None
    base_sessions: Sequence[BaseSession] = ()
    aggregates: Sequence[Aggregate] = ()
    only_on: dict[str, list[str]] = field(default_factory=dict)
    subject_labs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """That of an archive; all defaults if it has none. Raises `ValueError` or `TypeError` if it is malformed."""
        try:
            raw = json.loads((directory / DATABASE_FILE).read_bytes())
        except FileNotFoundError:
            return cls()
        kinds: dict[str, type] = {
            "users": User,
            "tags": Tag,
            "repositories": Repository,
            "base_sessions": BaseSession,
            "aggregates": Aggregate,
        }
        parts: dict[str, Any] = {
            name: tuple(kinds[name](**each) for each in value) if name in kinds and value is not None else value
            for name, value in raw.items()
        }
        return cls(**parts)

    def write(self, directory: Path) -> None:
        """Write it whole, so that a running server meets the old or the new one."""
        temporary = directory / f".{DATABASE_FILE}"
        temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        temporary.replace(directory / DATABASE_FILE)


BUCKET_NAME = "onefs-demo"
BUCKET = {"bucket_name": BUCKET_NAME, "region_name": "us-east-1", "endpoint_url": "/"}
"""As repositories say it; an endpoint without a host is this server."""


def default_repositories(labs: Sequence[str]) -> tuple[Repository, ...]:
    """For each lab a data server, a bucket, and a personal server; the first two for aggregates too."""
    found = []
    for number, lab in enumerate((*labs, "aggregates")):
        below = f"{lab}/Subjects/" if lab != "aggregates" else "aggregates/"
        keys = f"data/{below}" if lab != "aggregates" else below
        found += [
            # As on the real archive, some of the buckets' repositories have a URL and some have none.
            Repository(f"aws_{lab}", lab, keys, data_url=None if number else f"/{BUCKET_NAME}/{keys}", json=BUCKET),
            Repository(f"server_{lab}", lab, f"/public/{below}", "localhost", f"/public/{below}"),
        ]
        if lab != "aggregates":
            found.append(Repository(f"{lab}_SR", lab, "/mnt/s0/Data/Subjects/", "labserver", globus_is_personal=True))
    return tuple(found)
