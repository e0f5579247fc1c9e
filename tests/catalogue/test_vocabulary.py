"""Distinct texts of a column in pieces: the same as of the whole column."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from onefs.catalogue.vocabulary import Vocabulary

TEXTS = st.text(st.sampled_from("aé/\U0001f42d"), max_size=3)


@given(st.lists(st.lists(TEXTS, min_size=1).flatmap(lambda d: st.tuples(st.just(d), st.lists(st.sampled_from(d))))))
def test_every_code_means_its_text_still(pieces):
    vocabulary = Vocabulary()
    columns = []
    for dictionary, texts in pieces:
        codes = np.array([dictionary.index(text) for text in texts], np.int32)
        vocabulary.add(codes, pa.array(dictionary, pa.large_string()))
        columns.append(codes)
    distinct = vocabulary.finish().to_pylist()
    assert distinct == sorted({text for dictionary, _ in pieces for text in dictionary}, key=str.encode)
    assert [[distinct[code] for code in codes] for codes in columns] == [texts for _, texts in pieces]


def test_pieces_of_nothing():
    vocabulary = Vocabulary()
    vocabulary.add(np.empty(0, np.int32), pa.array([], pa.large_string()))
    assert len(vocabulary.finish()) == 0
