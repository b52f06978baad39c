"""Evidence: what a history holds of what is asked, by hand and by gradient."""

import math
from types import SimpleNamespace

import pytest
import torch

from instructue.batching.features import AMOUNTS
from instructue.network.evidence import ASKED, CONSTANT, SHARPNESS, WHOLE, Evidence

SOURCES, WIDTH = 2, 8


@pytest.fixture
def pack():
    """Two histories of three and one texts; two instructions, the first of which is its history's first text, the
    second a value that the second history's text and the last of the first's hold."""
    torch.manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(2, 3, WIDTH), dim=-1)
    amount = torch.rand(2, 3, AMOUNTS)
    amount[1, 1:] = 0
    values = torch.nn.functional.normalize(torch.randn(2, WIDTH), dim=-1)
    query = torch.stack([texts[0, 0], values[1]])
    held = torch.tensor([[-1, -1], [0, -1], [0, 1], [1, -1], [-1, -1], [-1, -1]])
    source = torch.tensor([[0, 1, 0], [1, 0, 0]])
    seen = torch.arange(6).view(2, 3)
    return SimpleNamespace(
        text_TV=texts.flatten(0, 1), seen_BM=seen, amount_BMX=amount, source_BM=source, query_UV=query,
        best_U=torch.ones(2), value_GV=values, value_TA=held,
    )  # fmt: skip


def figures(evidence: Evidence, pack, which) -> torch.Tensor:
    return evidence(pack, torch.tensor(which)).view(2, -1, len(SHARPNESS), SOURCES, AMOUNTS)


def test_figures_are_weighted_sums_per_source(pack):
    found = figures(Evidence(SOURCES, 3, 6, 4), pack, [[0, 1], [1, -1]])
    for asked, query in enumerate(pack.query_UV):
        for sharpness, row in zip(SHARPNESS, found[0, asked], strict=True):
            expected = torch.zeros(SOURCES, AMOUNTS)
            for text, (source, amount) in enumerate(zip(pack.source_BM[0], pack.amount_BMX[0], strict=True)):
                held = [pack.value_GV[value] for value in pack.value_TA[text] if value >= 0]
                near = max(float(each @ query) for each in (pack.text_TV[text], *held))
                expected[source] += math.exp((near - 1) / sharpness) * amount
            torch.testing.assert_close(row, torch.log1p(expected), rtol=1e-4, atol=1e-5)


def test_a_text_is_as_near_as_the_nearest_of_its_values(pack):
    """All that is "coffee" counts in full, whatever else its words say."""
    found = figures(Evidence(SOURCES, 3, 6, 4), pack, [[1], [1]]).exp() - 1
    torch.testing.assert_close(found[1, 0, :, 1], pack.amount_BMX[1, 0].expand(len(SHARPNESS), -1))
    assert (found[0, 0, :, 0] >= pack.amount_BMX[0, 2] - 1e-5).all()


def test_without_an_instruction_there_is_none(pack):
    evidence = Evidence(SOURCES, 3, 6, 4)
    found = evidence(pack, torch.tensor([[-1], [0]]))
    assert not found[0].any() and found[1].any()
    assert not evidence.told(found)[0].any()


def test_a_history_does_not_see_anothers_texts(pack):
    evidence = Evidence(SOURCES, 3, 6, 4)
    before = figures(evidence, pack, [[0], [1]])
    pack.text_TV[:3], pack.amount_BMX[0] = pack.text_TV[:3] + 1, 5.0
    after = figures(evidence, pack, [[0], [1]])
    assert not torch.equal(before[0], after[0])
    torch.testing.assert_close(before[1], after[1])


def test_sharpness_is_learnt_and_a_constant_stands_beside(pack):
    evidence, which, whole = Evidence(SOURCES, 3, 6, 4), torch.tensor([[0, 1], [1, -1]]), torch.randn(2, 3)
    embedded = evidence.embedded(evidence(pack, which), whole)
    assert embedded.shape == (2, 2, 6)
    assert (embedded[..., -1] == CONSTANT).all()
    embedded[..., 0].sum().backward()
    assert evidence.log_sharpness_H.grad.abs().sum() > 0


@pytest.mark.parametrize("rows", [3, 200])
def test_layers_start_as_leading_directions_at_their_own_sizes(rows):
    """Fewer rows than directions leave the others at zero."""
    torch.manual_seed(1)
    evidence = Evidence(SOURCES, 5, 10, 4)
    figures = torch.randn(rows, evidence.asked.in_features) * torch.linspace(3, 0.1, evidence.asked.in_features) + 7
    whole = torch.randn(rows, 5) * torch.tensor([4.0, 1, 1, 1, 1]) - 3
    evidence.fit(figures, whole)
    for layer, seen, size in ((evidence.asked, figures, ASKED), (evidence.whole, whole, WHOLE)):
        out = layer(seen).detach()
        torch.testing.assert_close(out.mean(0), torch.zeros(layer.out_features), atol=1e-4, rtol=0)
        assert out.square().sum(1).mean().sqrt() == pytest.approx(size, rel=1e-4)
        kept = torch.pca_lowrank(seen, q=min(seen.shape), niter=8)[1][: layer.out_features]
        torch.testing.assert_close(out.std(0)[: len(kept)] / out.std(0)[0], kept / kept[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("rows", [1, 50])
def test_what_never_varied_in_training_stays_zero(rows):
    """Else one user who differs in it would be told by nothing else."""
    evidence = Evidence(SOURCES, 5, 10, 4)
    still = torch.full((rows, evidence.asked.in_features), 0.7)
    whole = torch.full((rows, 5), -0.3)
    whole[:, 0] = torch.arange(rows)
    evidence.fit(still, whole)
    assert not evidence.asked.weight.any() and torch.isfinite(evidence.asked.bias).all()
    later = whole + torch.tensor([0.0, 9, 9, 9, 9])
    torch.testing.assert_close(evidence.whole(later), evidence.whole(whole), atol=1e-4, rtol=0)
