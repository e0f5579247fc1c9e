"""Which sessions the demo has: who, when, what task, how many probes, what is odd about each; and the releases."""

import calendar
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from uuid import UUID, uuid5

from onefs.catalogue.records import QC, Session

NAMESPACE = UUID("6f6e6566-7300-5d65-8d6f-6e6566730000")
"""Namespace of the demo's ids: a session's from its path, a dataset's from the session's and its own path."""

ORIGIN = "onefs demo"
CREATED = "2025-06-30 12:00"
"""When the tables say they were made: fixed, so that the archive is the same whenever it is made."""
CREATED_S = calendar.timegm(time.strptime(CREATED, "%Y-%m-%d %H:%M"))
TRAINING = "_iblrig_tasks_trainingChoiceWorld6.6.4"
EPHYS = "_iblrig_tasks_ephysChoiceWorld6.6.4"
SORTINGS = ("2023-10-02", "2024-05-06")
"""Later runs of the spike sorter, where a session has any."""
TRIALS_REVISION = "2025-03-03"
WHEEL_REVISION = "2024-05-06a"
NEVER_DEFAULT = (TRIALS_REVISION, WHEEL_REVISION)
"""Revisions whose files are not the default edition, though they are the newest."""
CRITICAL_NAMES = (f"alf/#{WHEEL_REVISION}#/_ibl_wheel.position.npy",)


def demo_id(name: str) -> UUID:
    """The id of what has this name in the demo: always the same, and in form one of version 4, as ONE wants them."""
    return UUID(bytes=uuid5(NAMESPACE, name).bytes, version=4)


@dataclass(frozen=True, slots=True)
class Plan:
    """One session to be made. `skill` runs from 0 to 1; `large` makes its first recording the large one."""

    lab: str
    subject: str
    date: date
    number: int
    n_trials: int
    skill: float
    probes: tuple[str, ...] = ()
    revised: bool = False
    large: bool = False
    critical: tuple[str, ...] = ()

    @property
    def session(self) -> Session:
        """The session as the catalogue knows it."""
        path = f"{self.lab}/Subjects/{self.subject}/{self.date}/{self.number:03d}"
        return Session(
            eid=demo_id(path),
            lab=self.lab,
            subject=self.subject,
            date=self.date,
            number=self.number,
            task_protocol=(EPHYS if self.probes else TRAINING) if self.n_trials else "",
            projects="demo_brainwide,demo_behaviour" if self.probes else "demo_behaviour",
        )


BOTH = ("probe00", "probe01")
PLANS = (
    Plan("northlab", "NL_001", date(2023, 3, 6), 1, n_trials=110, skill=0.1),
    Plan("northlab", "NL_001", date(2023, 3, 7), 1, n_trials=130, skill=0.3),
    Plan("northlab", "NL_001", date(2023, 3, 7), 2, n_trials=100, skill=0.35),
    Plan(
        "northlab",
        "NL_001",
        date(2023, 4, 18),
        1,
        n_trials=180,
        skill=0.9,
        probes=BOTH,
        revised=True,
        large=True,
    ),
    Plan("northlab", "NL_002", date(2023, 3, 20), 1, n_trials=120, skill=0.2),
    Plan("northlab", "NL_002", date(2023, 4, 3), 1, n_trials=150, skill=0.6),
    Plan("northlab", "NL_002", date(2023, 5, 9), 1, n_trials=170, skill=0.85, probes=("probe00",)),
    Plan("northlab", "NL-003", date(2023, 6, 12), 1, n_trials=140, skill=0.5),
    Plan("southlab", "SL.014", date(2022, 11, 28), 1, n_trials=140, skill=0.4),
    Plan("southlab", "SL.014", date(2023, 1, 17), 1, n_trials=190, skill=0.95, probes=BOTH),
    Plan("southlab", "SL.014", date(2023, 1, 18), 1, n_trials=170, skill=0.9, probes=BOTH),
    Plan(
        "southlab",
        "SL_015",
        date(2023, 2, 14),
        1,
        n_trials=150,
        skill=0.8,
        probes=("probe00",),
        critical=("alf/probe00/pykilosort/spikes.depths.npy",),
    ),
    Plan("southlab", "SL_015", date(2023, 2, 15), 1, n_trials=120, skill=0.7),
    Plan("southlab", "SL_015", date(2023, 2, 16), 1, n_trials=0, skill=0.0),
)
"""The last session has no datasets: its directory is empty."""

BASE_SESSION = PLANS[4]
"""On this day its subject also has a base session, which has no number and so is in no table."""
UNSERVED = ("southlab/Subjects/SL_015/2023-02-15/001", "raw_video_data/_iblrig_leftCamera.raw.mp4")
"""Session and file of the dataset for which the database knows no URL."""
PAPER_SESSIONS = (PLANS[3].session.path, PLANS[9].session.path)


@dataclass(frozen=True, slots=True)
class TagPlan:
    """A release: which datasets it `holds`, by session and path, and whether tables were exported for it."""

    name: str
    description: str
    protected: bool
    public: bool
    has_tables: bool
    holds: Callable[[Plan, str], bool]


TAGS = (
    TagPlan(
        "2024_Q2_Demo_et_al",
        "Datasets of a paper",
        protected=True,
        public=True,
        has_tables=True,
        holds=lambda plan, rel_path: plan.session.path in PAPER_SESSIONS,  # noqa: ARG005 - all their files
    ),
    TagPlan(
        "Demowide",
        "Sorted spikes and trials of all recordings",
        protected=False,
        public=True,
        has_tables=True,
        holds=lambda plan, rel_path: bool(plan.probes) and rel_path.startswith("alf/") and "#" not in rel_path,
    ),
    TagPlan(
        "internal",
        "Not to be released",
        protected=True,
        public=False,
        has_tables=False,
        holds=lambda plan, rel_path: plan is PLANS[-2] and rel_path == "alf/licks.times.npy",
    ),
)

QC_SHARES = {QC.NOT_SET: 0.3, QC.PASS: 0.5, QC.WARNING: 0.15, QC.FAIL: 0.05}
"""How often each outcome is given to a file that the plan says nothing of."""
