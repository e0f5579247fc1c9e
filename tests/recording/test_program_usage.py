"""What each program did: counts, processes told apart, and that memory stays bounded."""

from onefs.recording.crawling import PROCESSES_KEPT, PROGRAMS_KEPT
from onefs.recording.processes import Caller, Identity
from onefs.recording.program_usage import OTHERS, PROGRAMS_SHOWN, Programs


def caller(program: str, pid: int = 7, started: int = 1) -> Caller:
    return Caller(Identity(pid, started), program, 1000)


def test_opens_fetches_and_bytes_are_added_up() -> None:
    programs = Programs(clock=lambda: 86400.0)
    programs.opened(caller("cat"), is_fetched=True)
    programs.opened(caller("cat"), is_fetched=False)
    programs.read("cat", 100)
    programs.read("cat", 28)
    (facts,) = programs.facts()
    assert facts == {
        "program": "cat",
        "pid_count": 1,
        "opened_files": 2,
        "fetched_files": 1,
        "read_bytes": 128,
        "last": "1970-01-02T00:00:00Z",
    }


def test_a_number_that_comes_again_is_another_process() -> None:
    programs = Programs()
    for started in (1, 1, 2):
        programs.opened(caller("cat", 7, started), is_fetched=False)
    assert programs.facts()[0]["pid_count"] == 2


def test_a_process_that_becomes_another_program_counts_for_both() -> None:
    programs = Programs()
    programs.opened(caller("sh"), is_fetched=False)
    programs.opened(caller("cat"), is_fetched=False)
    assert {each["program"]: each["pid_count"] for each in programs.facts()} == {"sh": 1, "cat": 1}


def test_those_for_which_most_was_fetched_come_first() -> None:
    programs = Programs()
    for program, times in (("cat", 1), ("updatedb", 3), ("python3 fit.py", 2)):
        for _ in range(times):
            programs.opened(caller(program), is_fetched=True)
    programs.opened(caller("less"), is_fetched=False)
    assert [each["program"] for each in programs.facts()] == ["updatedb", "python3 fit.py", "cat", "less"]


def test_programs_that_were_idle_longest_are_added_up() -> None:
    programs = Programs()
    many = PROGRAMS_KEPT + 100
    for number in range(many):
        programs.opened(caller(f"program{number}", number), is_fetched=True)
        programs.read(f"program{number}", 10)
    programs.read("program0", 5)  # it was forgotten, and has the file still open
    facts = programs.facts()
    assert len(facts) == PROGRAMS_SHOWN
    assert facts[-1]["program"] == OTHERS
    for key, total in (
        ("opened_files", many),
        ("fetched_files", many),
        ("pid_count", many),
        ("read_bytes", many * 10 + 5),
    ):
        assert sum(each[key] for each in facts) == total
    assert len(programs._usages) == PROGRAMS_KEPT


def test_processes_are_not_remembered_for_ever() -> None:
    programs = Programs()
    for number in range(PROCESSES_KEPT + 10):
        programs.opened(caller("cat", number), is_fetched=False)
    assert programs.facts()[0]["pid_count"] == PROCESSES_KEPT + 10
    assert len(programs._processes) == PROCESSES_KEPT
