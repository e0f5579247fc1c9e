"""Keeping pandas out of a query, and only out of that."""

import subprocess
import sys

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
