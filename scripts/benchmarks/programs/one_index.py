"""one_index.py ROOT OUT makes ONE's cache tables of a folder."""

import sys

from one.alf.cache import make_parquet_db  # type: ignore[import-untyped]

make_parquet_db(sys.argv[1], sys.argv[2], hash_files=False)
