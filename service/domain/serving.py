"""What an API process holds of an experiment to answer choices without asking anybody."""

from __future__ import annotations

import msgspec

from service.domain.allocation import Allocation, Publication
from service.domain.assignment import Assigner
from service.domain.experiment import Experiment, label_of


class ServingTable:
    """The newest allocation of an experiment, laid out for serving, with its configuration."""

    __slots__ = (
        "allocation",
        "assigner",
        "experiment",
        "label",
        "payloads",
        "publication",
        "variant_ids",
    )

    def __init__(self, publication: Publication, experiment: Experiment) -> None:
        """Join an allocation and the configuration revision it names."""
        self.publication = publication
        self.allocation: Allocation = publication.allocation
        self.experiment = experiment
        self.label = label_of(experiment)
        self.assigner = Assigner(publication.allocation)
        self.variant_ids = tuple(slot.id for slot in publication.allocation.slots)
        self.payloads = tuple(
            msgspec.Raw(msgspec.json.encode(variant.payload)) for variant in experiment.variants
        )
