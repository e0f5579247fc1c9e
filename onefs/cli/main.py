"""The command line: its verbs, and the exit codes of failures."""

import importlib
import sys

import click
from click.shell_completion import CompletionItem

from onefs import __version__
from onefs.cli.failures import Failure, report
from onefs.exit_codes import FAILED, INTERRUPTED, WRONG_USE

# Verbs are imported when they are used: a mount must not wait for what only a report needs.
SECTIONS = {
    "Mounting": {
        "setup": "save the login for a source, and give it a name",
        "mount": "mount an archive",
        "umount": "unmount an archive",
        "demo": "mount a small made-up archive",
        "mode": "show or switch the mode: where names and files come from",
        "as-of": "show the archive as it was on a date",
        "qc": "hide datasets of worse quality control",
    },
    "Searching": {
        "search": "find sessions by subject, date, lab, datasets and more",
        "list": "list datasets, collections, revisions, subjects or labs",
        "info": "show all that is known of a file, session or probe, by whatever names it",
        "describe": "describe dataset types, datasets and revisions, as the database does",
    },
    "Cache and tables": {
        "fetch": "fetch files into the cache, with or without a mount",
        "pin": "fetch files and keep them, or list those that are kept",
        "unpin": "let pinned files be evicted again",
        "evict": "remove files from the cache",
        "prune": "list or remove cached files that the tables do not have",
        "verify": "hash the files in the cache again",
        "retry": "forget failures, so that files are tried again",
        "stop": "end a fetch, pin, evict or verify that is under way",
        "refresh": "ask for newer tables now",
        "index": "make cache tables of a folder of ALF files",
        "tables": "save, load or restrict the tables of a mount",
        "rest-cache": "turn the cache of a database's responses on or off, or clear it",
    },
    "Recording": {
        "record": "record what is read, and by whom",
        "replay": "check, mount or fetch what a recording says was read",
    },
    "Status and help": {
        "status": "show the mounts and their state",
        "log": "show the last lines of a mount's log, or set its level",
        "doctor": "check what mounting and fetching need",
        "completion": "print the script with which a shell completes commands",
        "help": "explain a command, the settings or another topic",
    },
}
"""The verbs by the sections of the help, each with its line there."""
VERBS = {verb: line for verbs in SECTIONS.values() for verb, line in verbs.items()}
EXIT_CODES = {
    Failure.WRONG_USE: WRONG_USE,
    Failure.FAILED: FAILED,
    Failure.UNFORESEEN: FAILED,
    Failure.INTERRUPTED: INTERRUPTED,
}


class Verbs(click.Group):
    """The verbs, one module each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's module and take its command."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"onefs.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help's list of verbs, without importing them."""
        from onefs.cli.markdown import fill
        from onefs.cli.topics import topics

        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(verbs.items()))
        formatter.write_paragraph()
        words = "onefs help COMMAND explains a command, onefs help TOPIC a topic: " + ", ".join(topics())
        formatter.write(f"{fill(words, formatter.width)}\n")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that begin as the typed word does, without importing them."""
        found = [CompletionItem(verb, help=line) for verb, line in VERBS.items()]
        begun = [item for item in found if item.value.startswith(incomplete)]
        return begun or click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="onefs %(version)s")
def onefs() -> None:
    """Mount a neuroscience archive in ALF format as a file system of verified data."""


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Failures are written to standard error."""
    if arguments[2:3] == ["-o"] and arguments[0] not in VERBS:  # so mount.fuse3 calls the program of a type
        from onefs.cli import mount_options

        return mount_options.run(arguments)
    try:
        code = onefs.main(arguments, prog_name="onefs", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - all are reported
        return EXIT_CODES[report(error)]
    return code if isinstance(code, int) else 0  # what a verb gave to its context's exit


if __name__ == "__main__":
    main()
