"""Runs onefs and notes which of its functions are entered, in all threads: profiled.py SOURCE MOUNTPOINT OPTIONS.

Each line on standard input is answered with one of JSON: `reset` forgets what was noted, `list` gives the names.
Functions that Python makes (of dataclasses and the like) do not count, and comprehensions are part of their function.
"""

import json
import os
import re
import sys
import threading
from types import CodeType, FrameType

ENTERED: set[CodeType] = set()
COMPREHENSION = re.compile(r"(\.<locals>)?\.?<(listcomp|setcomp|dictcomp|genexpr)>")


def note(frame: FrameType, event: str, arg: object) -> None:  # noqa: ARG001
    """Note what is entered; called by the interpreter."""
    if event == "call":
        ENTERED.add(frame.f_code)


def names() -> list[str]:
    """The functions of onefs among what was entered, as module:function."""
    import onefs

    home = os.path.join(os.path.dirname(os.path.abspath(onefs.__file__)), "")
    found = set()
    for code in ENTERED.copy():
        if code.co_filename.startswith(home):
            module = code.co_filename.removeprefix(home).removesuffix(".py").replace(os.sep, ".")
            found.add(f"{module}:{COMPREHENSION.sub('', code.co_qualname)}")
    return sorted(found)


def obey(questions: int, answers: int) -> None:
    """Answer each line. Runs in a thread that is not noted."""
    with os.fdopen(questions) as lines, os.fdopen(answers, "w", buffering=1) as out:
        for line in lines:
            if line.strip() == "reset":
                ENTERED.clear()
            print(json.dumps(names()), file=out)


def main() -> None:
    """Mount in the foreground until somebody unmounts."""
    questions, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    threading.Thread(target=obey, args=(questions, answers), daemon=True).start()
    threading.setprofile(note)
    sys.setprofile(note)
    from onefs.__main__ import main

    sys.argv = ["onefs", "mount", "--foreground", *sys.argv[1:]]
    main()


main()
