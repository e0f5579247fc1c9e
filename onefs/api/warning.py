"""`warn`: warnings that point at the line of the program that called onefs."""

import sys
import warnings


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line of the stack that is not in onefs."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "onefs":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
