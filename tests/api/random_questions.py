"""Random searches and lists for tables, and which known fault of ONE explains that it answers something else."""

import random
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
from one.alf.spec import is_valid
from right_answers import QC_NAMES, as_list, parts_of

SHORT = {
    "subject": ["subject", "subj"],
    "laboratory": ["laboratory", "lab", "LAB"],
    "task_protocol": ["task_protocol", "task", "t"],
    "projects": ["projects", "proj"],
    "number": ["number", "n"],
    "date_range": ["date_range", "date"],
    "dataset": ["dataset"],
    "datasets": ["datasets"],
    "dataset_qc_lte": ["dataset_qc_lte", "dataset_qc"],
}
EXPRESSIONS = ["^{}$", "{}|nothing", "^{}", ".*{}", "{}"]


def some_of(pick: random.Random, texts: list[str], *, as_expressions: bool) -> Any:
    """One text or two, whole or a part, and maybe as an expression."""
    chosen = pick.sample(texts, min(len(texts), pick.choice([1, 1, 2])))
    cut = [text[: pick.choice([2, 3, 99])] for text in chosen]
    if as_expressions and pick.random() < 0.4:
        cut = [pick.choice(EXPRESSIONS).format(text) for text in chosen]
    return cut[0] if len(cut) == 1 and pick.random() < 0.8 else cut


def random_terms(
    pick: random.Random, sessions: pd.DataFrame, datasets: pd.DataFrame, *, wildcards: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Terms as a user gives them, and the same by their whole names with dates and outcomes as text."""
    days = sorted({str(day) for day in sessions["date"]} | {"2020-01-02"})
    paths = [path for path in datasets["rel_path"] if "(" not in path]
    names = [path.rpartition("/")[2] for path in paths]
    texts = {
        name: some_of(pick, sorted({*sessions[column].dropna(), "nobody"}), as_expressions=wildcards)
        for name, column in (
            ("subject", "subject"), ("laboratory", "lab"), ("task_protocol", "task_protocol"), ("projects", "projects")
        )
    }  # fmt: skip
    first, last = sorted(pick.choices(days, k=2))
    exact: dict[str, Any] = {
        **texts,
        "number": pick.choice([1, [1, 2], "2", "001", [3]]),
        "date_range": pick.choice([first, [first, last], [first, None], [None, last]]),
        "dataset": some_of(pick, sorted({path[:12] for path in paths}), as_expressions=False),
        "datasets": some_of(pick, sorted({*names}), as_expressions=False),
    }
    chosen = {name: exact[name] for name in pick.sample(sorted(exact), pick.choice([1, 1, 2, 2, 3]))}
    if pick.random() < (0.5 if {"datasets", "dataset"} & set(chosen) else 0.05):
        chosen["dataset_qc_lte"] = pick.choice(QC_NAMES)
    given = {pick.choice(SHORT[name]): _in_some_shape(pick, name, value) for name, value in chosen.items()}
    return given, chosen


def _in_some_shape(pick: random.Random, name: str, value: Any) -> Any:
    if name == "date_range":
        if isinstance(value, str):
            shapes = (str, date.fromisoformat, datetime.fromisoformat, pd.Timestamp, np.datetime64)
            return pick.choice(shapes)(value)
        return pick.choice([list, tuple])(value)
    if name == "dataset_qc_lte":
        code = QC_NAMES.index(value)
        return pick.choice([value, value.lower(), (0, 10, 30, 40, 50)[code]])
    return value


def fault_of_search(terms: Mapping[str, Any], datasets: pd.DataFrame, *, wildcards: bool) -> str | None:
    """The fault of ONE that concerns such a search. `terms` has their whole names."""
    if "dataset" in terms:
        return "ONE 3 has no term dataset"
    if "dataset_qc_lte" in terms and "datasets" not in terms:
        return "a limit of QC alone finds nothing"
    texts = [terms[name] for name in ("subject", "laboratory", "task_protocol", "projects") if name in terms]
    if not wildcards and any(len(as_list(value)) > 1 for value in texts):
        return "a list of texts finds nothing with wildcards off"
    names = {path.rpartition("/")[2] for path in datasets["rel_path"]}
    for name in as_list(terms.get("datasets", [])):
        if set(",()[]*+?| ") & set(name) or any(re.fullmatch(name, other) for other in names - {name}):
            return "file names are taken for expressions"
    if set(as_list(terms.get("datasets", []))) & set(datasets["rel_path"]):
        return "files in the root are not found if others of the session are in folders"
    return None


def random_filters(pick: random.Random, datasets: pd.DataFrame, *, wildcards: bool) -> dict[str, Any]:
    """Some of the filters of `list_datasets`."""
    paths = list(datasets["rel_path"])
    if not wildcards:
        paths = [path for path in paths if not set("()[]+ ") & set(path)] or ["alf/spikes.times.npy"]
    collection, revision, name = parts_of(pick.choice(paths))
    other = parts_of(pick.choice(paths))
    any_text = "*" if wildcards else ".*"
    names = [
        name, name[:4] + any_text, any_text + name[-8:], any_text + name[3:9] + any_text, any_text, "",
        [name, other[2]], [name[:4] + any_text], "/".join(filter(None, (collection, name))),
        {"object": [name.partition(".")[0].rpartition("_")[2], "wheel"]}, {"extension": "npy"},
        {"attribute": "t" + any_text, "extension": name.rpartition(".")[2]}, {"timescale": ""}, {"namespace": "ibl"},
        {"extra": "part0"}, {"timescale": "ephysClock", "extra": ""},
    ]  # fmt: skip
    collections = [collection, collection[:3] + any_text, "alf/" + any_text, [collection, other[0]], ["alf", ""], ""]
    revisions = [revision, "20" + any_text, [revision or "test", "2023-01-01"], any_text, ""]
    found = {"filename": pick.choice(names), "collection": pick.choice(collections), "revision": pick.choice(revisions)}
    chosen: dict[str, Any] = {key: found[key] for key in pick.sample(sorted(found), pick.choice([0, 1, 1, 1, 2, 2, 3]))}
    if pick.random() < 0.3:
        chosen["qc"] = pick.choice(QC_NAMES)
    if pick.random() < 0.2:
        chosen["ignore_qc_not_set"] = True
    if pick.random() < 0.2 and "default_revision" in datasets:
        chosen["default_revisions_only"] = True
    return chosen


def fault_of_list(filters: Mapping[str, Any], ours: set[str], ones: set[str], *, wildcards: bool) -> str | None:
    """The fault of ONE that explains why it lists other paths."""
    missing, extra = ours - ones, ones - ours
    name, collection = filters.get("filename"), filters.get("collection")
    if isinstance(name, list) and len(name) > 1:
        return "in a list of names only the first keeps its collection"
    if missing and not any(is_valid(path.rpartition("/")[2]) for path in missing) and not extra and not name:
        return "names that are not ALF are hidden from lists without a filter of names"
    if isinstance(name, str) and "/" in name and collection is not None and not extra:
        return "a path beside a collection finds nothing"
    if isinstance(name, dict) and "namespace" in name and extra and not missing:
        return "a namespace is met by longer ones"
    if isinstance(name, dict) and "" in name.values():
        return "an empty part finds nothing"
    if "" in as_list(filters.get("revision")) or (missing and "" in as_list(collection)):
        return "an empty text in a list, or beside a pattern, finds nothing"
    if extra and collection is not None and all("#" in path for path in extra):
        return "a pattern of a collection takes in the revision"
    if extra and isinstance(name, str) and any(sign in name for sign in "*."):
        return "a pattern of a file name crosses folders"
    return None
