"""The names that programs written for ONE import, and the arguments that they give."""

import importlib
import inspect
from typing import Any

import pytest

from onefs.catalogue.records import QC

MODULES_THERE = ["exceptions", "webclient", "io", "spec", "path", "cache", "converters", "util", "api", "params"]
"""Add a module once it is there: its names and signatures are checked from then on."""

NAMES = {
    "api": "ONE One OneAlyx",
    "exceptions": (
        "ALFError ALFObjectNotFound ALFMultipleObjectsFound ALFMultipleCollectionsFound ALFMultipleRevisionsFound "
        "ALFInvalid ALFWarning NoDatabaseError UsageError TableError UnreachableError TimedOutError "
        "AccessRefusedError UnknownRecordError MismatchError NoRoomError CacheDamagedError AlyxSubjectNotFound"
    ),
    "webclient": "AlyxClient no_cache",
    "io": (
        "AlfBunch load_object load_file_content exists filter_by iter_sessions iter_datasets read_ts ts2vec "
        "check_dimensions dataframe save_object_npy save_metadata"
    ),
    "spec": (
        "QC is_valid is_session_path is_uuid is_uuid_string to_alf regex describe path_pattern readableALF "
        "SPEC_DESCRIPTION SESSION_SPEC COLLECTION_SPEC FILE_SPEC REL_PATH_SPEC FULL_SPEC"
    ),
    "path": (
        "ALFPath PureALFPath PurePosixALFPath PureWindowsALFPath ensure_alf_path get_session_path get_alf_path "
        "add_uuid_string remove_uuid_string rel_path_parts session_path_parts filename_parts folder_parts "
        "full_path_parts padded_sequence without_revision"
    ),
    "cache": (
        "make_parquet_db remove_missing_datasets QC_TYPE EMPTY_SESSIONS_FRAME EMPTY_DATASETS_FRAME SESSIONS_COLUMNS "
        "DATASETS_COLUMNS"
    ),
    "converters": (
        "ConversionMixin ses2records datasets2records session_record2path path_from_dataset path_from_filerecord "
        "one_path_from_dataset"
    ),
    "util": ("filter_datasets filter_revision_last_before index_last_before validate_date_range autocomplete LazyId"),
    "params": "get setup get_cache_dir get_default_client get_params_dir check_cache_conflict",
}

SIGNATURES = """
io.load_object(alfpath, object=None, short_keys=False, wildcards=True, **parts)
io.filter_by(folder, wildcards=True, **parts)
io.read_ts(file)
io.save_object_npy(folder, dict, object, parts=None, namespace=None, timescale=None)
spec.to_alf(object, attribute, extension, namespace=None, timescale=None, extra=None)
path.rel_path_parts(path, as_dict=False, assert_valid=True)
path.session_path_parts(path, as_dict=False, assert_valid=True)
path.filename_parts(path, as_dict=False, assert_valid=True)
path.folder_parts(path, as_dict=False, assert_valid=True)
path.full_path_parts(path, as_dict=False, assert_valid=True)
path.ALFPath.parse_alf_path(as_dict=True)
path.ALFPath.parse_alf_name(as_dict=True)
path.ALFPath.session_path_short(include_lab=False)
path.ALFPath.with_extra(extra, append=False)
path.ALFPath.iter_datasets(recursive=False)
cache.make_parquet_db(root_dir, out_dir=None, hash_ids=True, hash_files=False, lab=None)
cache.remove_missing_datasets(cache_dir, tables=None, remove_empty_sessions=True, dry=True)
converters.ses2records(record)
converters.datasets2records(records, additional=None)
converters.session_record2path(session, root_dir=None)
converters.path_from_dataset(dset, root_path='/', repository=None, uuid=False)
converters.path_from_filerecord(record, root_path='/', uuid=None)
converters.ConversionMixin.to_eid(id=None, cache_dir=None)
converters.ConversionMixin.eid2path(eid, qt)
converters.ConversionMixin.path2eid(path, qt)
converters.ConversionMixin.path2record(path)
converters.ConversionMixin.record2path(record)
converters.ConversionMixin.record2url(record)
converters.ConversionMixin.path2url(path, qt)
converters.ConversionMixin.eid2ref(eid, as_dict=True, parse=True)
converters.ConversionMixin.ref2eid(ref)
converters.ConversionMixin.ref2path(ref)
converters.ConversionMixin.path2ref(path, as_dict=True, parse=True)
converters.ConversionMixin.ref2dict(ref, parse=True)
converters.ConversionMixin.dict2ref(d)
converters.ConversionMixin.is_exp_ref(ref)
util.filter_datasets(all_datasets, filename=None, collection=None, revision=None, revision_last_before=True, \
qc=QC.FAIL, ignore_qc_not_set=False, assert_unique=True, wildcards=False)
util.filter_revision_last_before(datasets, revision=None, assert_unique=True, assert_consistent=False)
util.index_last_before(revisions, revision)
util.validate_date_range(value)
webclient.AlyxClient.rest(url=None, action=None, id=None, data=None, files=None, no_cache=False, **filters)
webclient.AlyxClient.get(query, expires=None, clobber=False)
webclient.AlyxClient.authenticate(username=None, password=None, cache_token=True, force=False, token=None)
webclient.AlyxClient.logout()
webclient.AlyxClient.clear_rest_cache()
webclient.AlyxClient.rel_path2url(path)
exceptions.ALFError(*args, terse=False)
api.ONE(*, mode='auto', wildcards=True, **kwargs)
api.One(cache_dir=None, mode='auto', wildcards=True, tables_dir=None)
api.OneAlyx(username=None, password=None, base_url=None, cache_dir=None, mode='auto', wildcards=True, \
tables_dir=None, *, token=None, cache_rest='GET', silent=False)
api.One.setup(cache_dir=None, silent=False, **kwargs)
api.OneAlyx.setup(base_url=None, silent=False, make_default=None, username=None, cache_dir=None)
api.One.search(details=False, qt, **terms)
api.One.search_insertions(details=False, qt, **terms)
api.One.search_terms(qt, endpoint=None)
api.One.list_subjects()
api.One.list_datasets(eid=None, filename=None, collection=None, revision=None, qc=QC.FAIL, ignore_qc_not_set=False, \
details=False, qt, default_revisions_only=False, keep_eid_index=False)
api.One.list_collections(eid=None, filename=None, collection=None, revision=None, details=False, qt)
api.One.list_revisions(eid=None, filename=None, collection=None, revision=None, details=False, qt)
api.One.get_details(eid, full=False, qt)
api.One.list_aggregates(relation, identifier=None, dataset=None, revision=None, assert_unique=False)
api.One.load_object(eid, obj, collection=None, revision=None, qt, download_only=False, check_hash=True, **parts)
api.One.load_dataset(eid, dataset, collection=None, revision=None, qt, download_only=False, check_hash=True)
api.One.load_datasets(eid, datasets, collections=None, revisions=None, qt, assert_present=True, download_only=False, \
check_hash=True)
api.One.load_dataset_from_id(dset_id, download_only=False, details=False, check_hash=True)
api.One.load_collection(eid, collection, object=None, revision=None, qt, download_only=False, check_hash=True, **parts)
api.OneAlyx.load_aggregate(relation, identifier, dataset=None, revision=None, download_only=False)
api.OneAlyx.eid2pid(eid, qt, details=False, **filters)
api.OneAlyx.pid2eid(pid, qt)
api.OneAlyx.type2datasets(eid, dataset_type, details=False)
api.OneAlyx.dataset2type(dset)
api.OneAlyx.describe_dataset(dataset_type=None)
api.OneAlyx.describe_revision(revision, full=False)
api.One.load_cache(tables_dir=None, clobber=False, tag=None)
api.One.save_cache(save_dir=None, clobber=False)
api.One.reset_cache()
api.One.refresh_cache(mode='auto')
api.One.save_loaded_ids(sessions_only=False, clear_list=True)
api.One._reset_cache()
api.One._check_filesystem(datasets, offline=None, update_exists=True, check_hash=True)
"""
"""`qt` stands for `query_type=None`. More arguments may follow if they have defaults."""

PATH_PROPERTIES = (
    "lab subject date sequence collection revision namespace object attribute timescale extra session_parts "
    "dataset_name_parts alf_parts"
)
PATH_METHODS = (
    "is_valid_alf is_dataset is_session_path parse_alf_path parse_alf_name session_path session_path_short "
    "relative_to_session relative_to_lab without_lab without_revision without_uuid with_lab with_subject with_date "
    "with_sequence with_collection with_revision with_object with_namespace with_attribute with_timescale with_extra "
    "with_extension with_uuid with_padded_sequence"
)


def module(name: str) -> Any:
    return importlib.import_module("onefs.api" if name == "api" else f"onefs.api.{name}")


@pytest.mark.parametrize("name", [name for name in NAMES if name in MODULES_THERE])
def test_names(name: str) -> None:
    assert [each for each in NAMES[name].split() if not hasattr(module(name), each)] == []


def test_members_of_paths() -> None:
    path = module("path").ALFPath("/data")
    assert [name for name in (*PATH_PROPERTIES.split(), *PATH_METHODS.split()) if not hasattr(path, name)] == []


STATED = [line for line in SIGNATURES.strip().splitlines() if line.partition(".")[0] in MODULES_THERE]


@pytest.mark.parametrize("stated", STATED)
def test_signatures(stated: str) -> None:
    path, _, parameters = stated.partition("(")
    owner, *names = path.split(".")
    found = module(owner)
    for name in names:
        found = getattr(found, name)
    text = f"lambda {parameters.rpartition(')')[0].replace('qt', 'query_type=None')}: 0"
    expected = [*inspect.signature(eval(text, {"QC": QC})).parameters.values()]
    actual = [each for each in inspect.signature(found).parameters.values() if each.name != "self"]
    assert_fits(actual, expected)


def assert_fits(actual: list[inspect.Parameter], expected: list[inspect.Parameter]) -> None:
    """The stated parameters stand first, in this order; what has no default may have another name."""
    further = [
        each for each in actual if each.kind is each.KEYWORD_ONLY and each.name not in {p.name for p in expected}
    ]
    given = [each for each in actual if each not in further]
    assert len(given) >= len(expected)
    for ours, stated in zip(given, expected, strict=False):
        assert (ours.kind, ours.default) == (stated.kind, stated.default), f"{ours} is not {stated}"
        assert ours.name == stated.name or stated.default is inspect.Parameter.empty, f"{ours} is not {stated}"
    for more in further + given[len(expected) :]:
        assert more.default is not inspect.Parameter.empty or more.kind in (more.VAR_POSITIONAL, more.VAR_KEYWORD)
