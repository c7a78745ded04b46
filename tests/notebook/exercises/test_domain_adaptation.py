"""The references of notebook 10's exercises are what the library does."""

import pytest
import torch

from course_lib.notebook.exercises import domain_adaptation
from course_lib.objectives import Cropping
from course_lib.search import Hit, HybridSearch


class Finds:
    """A search that finds the same for every query."""

    def __init__(self, ranking):
        self.ranking = ranking

    def __len__(self):
        return len(self.ranking)

    def search(self, queries, k):
        return [[Hit(i, 0.0, i) for i in self.ranking[:k]] for _ in queries]


def test_two_spans_are_the_librarys():
    cropping = Cropping.__new__(Cropping)  # an encoder plays no part in cutting
    torch.nn.Module.__init__(cropping)
    cropping.shortest, cropping.longest = 0.1, 0.5
    for seed in range(20):
        ids = [2, *range(10, 10 + 3 * seed + 1), 3]
        library = [
            cropping.crop(ids, generator) for generator in [torch.Generator().manual_seed(seed)] for _ in range(2)
        ]
        drawn = torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist()
        shares = [0.1 + 0.4 * share for share in drawn[::2]]
        assert domain_adaptation.two_spans.reference(ids, shares, drawn[1::2]) == library


@pytest.mark.parametrize("constant", [60, 5])
def test_fusion_is_the_hybrid_searchs(constant):
    for rankings, _ in domain_adaptation.reciprocal_rank_fusion.argument_sets[:4]:
        merged = HybridSearch([Finds(ranking) for ranking in rankings], constant).search("any")
        own = domain_adaptation.reciprocal_rank_fusion.reference(rankings, constant)
        assert own == pytest.approx({hit.id: hit.score for hit in merged})
        assert sorted(own, key=lambda i: -own[i]) == [hit.id for hit in merged]


def test_share_of_a_gap():
    share = domain_adaptation.gap_closed.reference
    source, reference = torch.tensor([0.2, 0.4]), torch.tensor([0.6, 0.8])
    assert share(source, source, reference) == 0 and share(reference, source, reference) == 1
    assert share(torch.tensor([0.4, 0.6]), source, reference) == pytest.approx(0.5)
