"""What programs did, as counters for Prometheus."""

from onefs.monitoring.program_series import Counts, ProgramSeries
from onefs.recording.crawling import PROGRAMS_KEPT
from onefs.recording.processes import Caller
from onefs.recording.program_usage import Programs


def opens(programs: Programs, program: str, read_bytes: int, *, is_fetched: bool = False) -> None:
    programs.opened(Caller(None, program, 0), is_fetched=is_fetched)
    programs.read(program, read_bytes)


def test_so_many_have_a_series_of_their_own_for_good() -> None:
    programs = Programs()
    series = ProgramSeries(programs, most=2)
    assert series.now() == {"others": Counts()}
    opens(programs, "cp", 5)
    opens(programs, "rsync", 7, is_fetched=True)
    opens(programs, "tar", 9, is_fetched=True)
    assert series.now() == {
        "rsync": Counts(1, 1, 7),
        "tar": Counts(1, 1, 9),
        "others": Counts(1, 0, 5),
    }
    for _ in range(3):
        opens(programs, "cp", 100, is_fetched=True)
    assert series.now() == {
        "rsync": Counts(1, 1, 7),
        "tar": Counts(1, 1, 9),
        "others": Counts(4, 3, 305),
    }


def test_no_counter_goes_down_when_a_program_is_forgotten() -> None:
    programs = Programs()
    series = ProgramSeries(programs, most=1)
    opens(programs, "cp", 5, is_fetched=True)
    assert series.now() == {"cp": Counts(1, 1, 5), "others": Counts()}
    for number in range(PROGRAMS_KEPT):
        opens(programs, f"tool{number}", 1)
    assert "cp" not in programs.usages()
    assert series.now() == {"cp": Counts(1, 1, 5), "others": Counts(PROGRAMS_KEPT, 0, PROGRAMS_KEPT)}
    opens(programs, "cp", 2)
    assert series.now() == {"cp": Counts(2, 1, 7), "others": Counts(PROGRAMS_KEPT, 0, PROGRAMS_KEPT)}


def test_a_program_called_others_is_one_of_them() -> None:
    programs = Programs()
    opens(programs, "others", 3)
    assert ProgramSeries(programs).now() == {"others": Counts(1, 0, 3)}
