"""Single records of a database, looked up by id or name."""

from onefs.alyx.client import AlyxClient
from onefs.alyx.pages import LIMIT, AlyxRecord, Listing
from onefs.alyx.questions import segment
from onefs.alyx.told import DATASETS
from onefs.errors import UnknownRecordError


def find_record(client: AlyxClient, endpoint: str, name: str) -> AlyxRecord | None:
    """The record of an id or name; None if there is none. Raises what the client raises."""
    try:
        record: AlyxRecord = client.get(f"{endpoint}/{segment(name, 'record')}")
    except UnknownRecordError:
        return None
    return record


def find_dataset_by_name(client: AlyxClient, file_name: str) -> AlyxRecord | None:
    """The record of one dataset with this whole file name; None if there is none. Raises what the client raises."""
    return next(iter(Listing(client, DATASETS, (("name", file_name), (LIMIT, "1"))).records()), None)
