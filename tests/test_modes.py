"""What each mode allows."""

from onefs.modes import ALLOWED, Mode


def test_every_mode_has_its_row() -> None:
    assert set(ALLOWED) == set(Mode) == {"local", "auto", "refresh", "remote"}


def test_only_local_keeps_from_fetching() -> None:
    assert [mode for mode in Mode if not ALLOWED[mode].fetching] == [Mode.LOCAL]


def test_local_and_auto_need_no_database() -> None:
    assert [mode for mode in Mode if not ALLOWED[mode].needs_database] == [Mode.LOCAL, Mode.AUTO]
    assert all(ALLOWED[mode].needs_database for mode in Mode if ALLOWED[mode].live_catalogue)


def test_new_tables_come_where_tables_are_the_catalogue() -> None:
    assert [mode for mode in Mode if ALLOWED[mode].new_tables] == [Mode.AUTO, Mode.REFRESH]
