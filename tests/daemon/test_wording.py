"""Facts as lines for people."""

from onefs.daemon.wording import flatten


def test_what_is_absent_is_said_in_the_word_for_it() -> None:
    told = dict(flatten({"shown": {"as_of": None}, "used_bytes": None, "used_files": None, "renewed": None}))
    assert told == {"shown.as_of": "none", "used": "unknown", "used_files": "unknown", "renewed": "never"}
