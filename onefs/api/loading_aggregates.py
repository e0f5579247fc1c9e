"""`AggregateLoadingMixin`: loading datasets of no session, such as tables of all trials of a subject."""

from typing import TYPE_CHECKING, Any

from onefs.api import aggregates
from onefs.api.aggregates import AggregateRequest
from onefs.api.dataset_choice import DatasetName
from onefs.api.loading import LoadingMixin
from onefs.catalogue.filters import dataset_filter
from onefs.catalogue.records import Dataset
from onefs.one_errors import ALFObjectNotFound, api_errors


class AggregateLoadingMixin(LoadingMixin):
    """Loads aggregates. The class that uses it gives what is declared here."""

    if TYPE_CHECKING:

        def _aggregates(self) -> list[Dataset]: ...

    @api_errors
    def load_aggregate(
        self,
        relation: str,
        identifier: str,
        dataset: DatasetName | None = None,
        revision: str | None = None,
        download_only: bool = False,
    ) -> Any:
        """The content of a dataset of no session, or with `download_only` its path below `cache_dir/aggregates`.

        Args:
            relation: what it is of, such as `subjects`, in any case.
            identifier: a regular expression found in the folders below the relation's, such as `KS005`.
            dataset: its name, a shell pattern or `object.attribute`; or a dict of ALF parts. None: any.
            revision: take the greatest edition at or before this text; None takes the default one.

        Raises `ALFObjectNotFound`: nothing matches, or its file is not to be had. `ALFMultipleCollectionsFound`,
        `ALFMultipleObjectsFound`: several match. Others as `load_dataset`.
        """
        name = None if dataset is None else dataset_filter(dataset).filter.filename
        edition = self._default_revision if revision is None else revision
        found = aggregates.chosen(self._aggregates(), AggregateRequest(relation, identifier, name, edition))
        aggregates.check_one(found)
        if not found:
            told = "" if dataset is None else f" named {dataset!r}"
            raise ALFObjectNotFound(
                f"There is no dataset{told} of {relation} {identifier!r}. See which there are with list_aggregates.",
                terse=True,
            )
        return self._load_one(found[0].dataset, download_only, True)
