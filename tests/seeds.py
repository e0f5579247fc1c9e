"""The random examples and cases that tests try: the same in every run, unless pytest is given a seed for others."""

import random

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

_given: str | None = None


def use_seed(seed: str | None) -> None:
    """Have tests try what a seed leads to; None: the same in every run. Goes before the tests are imported."""
    global _given
    _given = seed
    # Hypothesis takes some values from the code of whatever modules are loaded, which differs from run to run.
    providers.is_local_module_file = lambda _path: False
    common = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("onefs", common, derandomize=seed is None)
    settings.load_profile("onefs")


def seeded(number: int) -> random.Random:
    """A generator of random cases. `number` tells it from the others; the seed of the run, if one is given, counts."""
    return random.Random(number if _given is None else f"{_given} {number}")
