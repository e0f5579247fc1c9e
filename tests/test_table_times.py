"""The times in the metadata of cache tables, in a process whose local time is far from UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from onefs.table_times import table_time, table_time_text

pytestmark = pytest.mark.usefixtures("_far_from_utc")


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02 03:04",
        "2026-01-02T03:04:00",
        "2026-01-02T03:04Z",
        "2026-01-02 12:04+09:00",
        "2026-01-01T22:04-05:00",
    ],
)
def test_a_text_without_a_zone_means_utc(text: str) -> None:
    assert table_time(text) == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-13-01 00:00", "0001-01-01 00:00+14:00", None, 20260102),
        *("0001-01-01 00:00", "9999-12-31 23:59"),  # which are of no year in some zones
    ],
)
def test_what_is_no_time(text: object) -> None:
    assert table_time(text) is None


def test_times_are_written_in_utc_and_without_a_zone() -> None:
    time = datetime(2026, 1, 2, 3, 4, 59, tzinfo=UTC)
    local = time.astimezone().replace(tzinfo=None)
    assert local.hour == 17
    for same in (time, time.astimezone(timezone(timedelta(hours=-5))), local):
        assert table_time_text(same) == "2026-01-02 03:04"


def test_unless_given_it_is_now() -> None:
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    now = table_time(table_time_text())
    assert now is not None
    assert before <= now <= datetime.now(UTC)
