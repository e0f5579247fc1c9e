"""`onefs stop`: end what a mount does that takes long."""

from pathlib import Path

import click

from onefs.cli.mounts import mount_at, order, status_of
from onefs.cli.options import with_place
from onefs.cli.printing import say
from onefs.errors import UsageError


@click.command("stop")
@click.argument("job", metavar="JOB", type=click.IntRange(min=1))
@with_place
def command(job: int, place: Path | None) -> None:
    """End the fetch, pin, evict or verify that has the number JOB in onefs status, whoever asked for it.

    What is done stays; the same again goes on from there.
    """
    mount = mount_at(place, "onefs stop --mount PATH JOB")
    order(mount, f"stop {job}", UsageError)
    say(next(each["sentence"] for each in status_of(mount)["jobs"] if each["number"] == job))
