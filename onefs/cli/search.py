"""`onefs search`: find sessions by their columns and by their datasets."""

import sys
from pathlib import Path
from typing import Any

import click

from onefs.catalogue.records import Session
from onefs.cli.completion import TERMS, complete
from onefs.cli.options import CommandWithSettings
from onefs.cli.printing import complain, say
from onefs.cli.queries import open_queries, print_json, print_paths, print_table, with_archive, with_output
from onefs.cli.verb_settings import SEARCH
from onefs.errors import UsageError
from onefs.text import counted


@click.command("search", cls=CommandWithSettings)
@click.argument("terms", metavar="TERM=VALUE…", nargs=-1, shell_complete=complete(*TERMS))
@click.option("--save", "save_as", metavar="NAME", help="save the result as .onefs/query/saved/NAME")
@click.option("--clobber", is_flag=True, help="replace a saved search of that name, even one of other terms")
@click.option("--forget", metavar="NAME", help="remove a saved search")
@with_output
@with_archive(SEARCH)
def command(
    terms: tuple[str, ...],
    save_as: str | None,
    clobber: bool,
    forget: str | None,
    is_null: bool,
    as_paths: bool,
    as_json: bool,
    source: str | None,
    place: Path | None,
    **flags: Any,
) -> None:
    """Find the sessions that meet every TERM, newest first.

    \b
    subject, lab, projects, task_protocol   part of the text, or a regular expression: subject=^KS0  lab=a|b
    date      2020-07-01, 2020-01-01..2020-06-30, 2020-01-01.. or ..2020-06-30, both ends included
    number    1 or 1,2,3
    dataset   part of a dataset's path; given several times, each must be there
    datasets  a dataset's whole file name
    dataset_qc_lte  count only datasets of this quality or better: PASS, WARNING, FAIL, CRITICAL

    In mode remote the database answers: names match in any case, subject and lab as a whole, | separates alternatives,
    and it may know more terms; django=FIELD,VALUE is passed on as it is.

    Terms may be shortened: subj=KS014. On a terminal the sessions are shown as a table, in a pipe as one path a line:
    onefs search subject=KS014 | onefs fetch --from -
    """
    if not terms and forget is None:
        raise UsageError("No search term is given.", "Give one, such as subject=KS014.")
    if terms and forget is not None:
        raise UsageError("--forget takes no search terms: it removes a saved search.", "Leave the terms out.")
    if clobber and save_as is None:
        raise UsageError("--clobber replaces a saved search, and none is to be saved.", "Give --save NAME, too.")
    with open_queries(source, place, flags, "search") as archive:
        if forget is not None:
            archive.saved.forget(forget)
            say(f"The saved search {forget} is removed.")
            return
        sessions = archive.search(terms)
        if save_as is not None:
            archive.saved.save(save_as, terms, [session.eid for session in sessions], clobber=clobber)
        if as_json:
            print_json([_facts(session, archive.path(session.path)) for session in sessions])
        elif as_paths or is_null or not sys.stdout.isatty():
            print_paths((archive.path(session.path) for session in sessions), is_null=is_null)
        else:
            _show(sessions)
        n_left_out = archive.n_left_out(terms)
        if n_left_out:
            complain(
                f"the database found {counted(n_left_out, 'session')} more without a place in the tree, such as one "
                "that has no number. Search in Python to see all: one.search(…, query_type='remote')."
            )


def _show(sessions: list[Session]) -> None:
    rows = [
        (each.date, f"{each.number:03d}", each.subject, each.lab, each.projects, each.task_protocol, each.eid)
        for each in sessions
    ]
    if rows:
        print_table(("date", "number", "subject", "lab", "projects", "task_protocol", "eid"), rows)
    say(f"{counted(len(rows), 'session')}.")


def _facts(session: Session, path: str) -> dict[str, object]:
    return {
        "eid": str(session.eid),
        "lab": session.lab,
        "subject": session.subject,
        "date": session.date.isoformat(),
        "number": session.number,
        "task_protocol": session.task_protocol,
        "projects": session.projects,
        "path": path,
    }
