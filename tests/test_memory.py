"""Keeping pandas out of a query, and only out of that."""

import subprocess
import sys
from pathlib import Path

from archives import RECORDINGS

QUERY = """
import sys, threading
import pyarrow as pa
from onefs.memory import without_pandas
with without_pandas():
    with without_pandas():
        pa.array(["a"])
    pa.array(["b"]).to_numpy(zero_copy_only=False)
    assert "pandas" not in sys.modules
    elsewhere = threading.Thread(target=lambda: __import__("pandas"))
    elsewhere.start()
    elsewhere.join()
    assert "pandas" in sys.modules
    import pandas
assert pa.table({"a": [1]}).to_pandas().a.tolist() == [1]
print("done")
"""


def test_pandas_is_out_of_a_query_of_this_thread_only() -> None:
    done = subprocess.run([sys.executable, "-c", QUERY], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr


LATER = """
import sys
from onefs.memory import without_pandas
with without_pandas():
    import pyarrow as pa
    pa.array(["a"]).to_numpy(zero_copy_only=False)
assert "pandas" not in sys.modules
import pandas as pd
series = pd.Series([1.0, float("nan")], index=[3, 4])
print(pa.array(series).to_pylist(), pa.array(pd.Series(["b"], dtype="category")).type)
assert pd.__loader__.get_filename() == pd.__file__
"""


def test_pyarrow_knows_pandas_as_soon_as_the_program_imports_it() -> None:
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=False)
    assert done.stdout == "[1.0, None] dictionary<values=string, indices=int8, ordered=0>\n", done.stderr


INDEXED = """
import sys, pathlib
from onefs.catalogue.snapshot import load_snapshot
assert load_snapshot(*map(pathlib.Path, sys.argv[1:])).n_sessions
assert "pandas" not in sys.modules
"""


def test_an_index_is_made_without_pandas(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INDEXED, RECORDINGS / "tables", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
