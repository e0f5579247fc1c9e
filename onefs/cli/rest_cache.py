"""`onefs rest-cache`: whether a mount keeps what its database answers, and for how long."""

from pathlib import Path

import click

from onefs.cli.mounts import mount_at, order
from onefs.cli.options import with_place
from onefs.cli.printing import say
from onefs.errors import OnefsError, UsageError
from onefs.setting_values import duration_s


@click.group("rest-cache")
def command() -> None:
    """Keep what a mount's database answers, or do not; or drop what is kept."""


@command.command("on")
@with_place
def _on(place: Path | None) -> None:
    """Keep responses, and use those that are kept."""
    say(f"Responses are kept for {_order(place, 'on')} now.")


@command.command("off")
@with_place
def _off(place: Path | None) -> None:
    """Neither keep responses nor use those that are kept."""
    say(f"No responses are kept for {_order(place, 'off')} now.")


@command.command("clear")
@with_place
def _clear(place: Path | None) -> None:
    """Drop the responses that are kept."""
    say(f"The responses kept for {_order(place, 'clear')} are dropped.")


@command.command("expiry")
@click.argument("duration")
@with_place
def _expiry(duration: str, place: Path | None) -> None:
    """Use responses for DURATION, such as 30m, 24h or 7d."""
    try:
        duration_s(duration)
    except ValueError as error:
        raise UsageError(f"{duration!r} is no time for which to keep responses.", f"Give {error}.") from error
    say(f"Responses are good for {duration} on {_order(place, f'expiry {duration.strip()}')} now.")


def _order(place: Path | None, words: str) -> Path:
    mount = mount_at(place, f"onefs rest-cache {words} --mount PATH")
    order(mount, f"rest-cache {words}", OnefsError)
    return mount.mountpoint
