"""The command `onefs`, and `python -m onefs`."""

import sys

from onefs.exit_codes import INTERRUPTED


def main() -> None:
    """Run the command line. Ctrl-C while it is still being imported ends it as quietly as later."""
    try:
        from onefs.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
