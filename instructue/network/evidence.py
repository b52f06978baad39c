"""How much of what an instruction asks about a history holds, as numbers: a soft retrieval over all its texts.

Every distinct text of a history counts towards an instruction with weight exp((similarity - best) / sharpness), where
best is the similarity of the nearest that training knew; the weighted amounts (how often, how lately) are summed
per source. So "Will they buy coffee?" finds how much coffee each source has seen, without a list of what coffee is.
A text is as near as its words or the nearest of the values it shows: all coffee is "coffee", whatever the rest of
the words says; after ColBERT (Khattab and Zaharia 2020), where the nearest of a document's words counts.
The similarity is the text encoder's as it is: corrected by what training learnt, it found less (docs/experiments.md).
In the embedding stand their leading directions, as training histories under training instructions show them, at their
own sizes; beside them, in numbers of their own, the same of the whole history's amounts by source and window.

Legend: B histories, K segments, U distinct instructions, T distinct texts of the batch, M of a history, G distinct
values of the batch, A of a text, V text vector, H sharpnesses, S sources, X amounts, Y = S * X, C = H * Y figures of
what is asked, F figures of the whole history, E width in the embedding, D model width, N training histories under
training instructions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructue.batching.features import AMOUNTS
from instructue.batching.packs import Pack

SHARPNESS = (0.02, 0.05, 0.1)  # from the very text asked about to its wider field, in units of cosine
# Root mean squares in the embedding, where the place on the map has 1; and a constant, from which a vector of unit
# length still tells how large the others were.
ASKED, WHOLE, CONSTANT = 1.0, 0.5, 2.0
VARIES = 1e-4  # standard deviation of a figure (logarithms of amounts, or normalised) below which it does not vary
CLOSEST = 3.0  # a learnt prompt, or a text that training never knew, may pass `best`: by at most a weight of e^3


class Evidence(nn.Module):
    """forward(pack, which_BK) -> figure_BKC, zero where nothing is asked (which -1)."""

    def __init__(self, sources: int, whole: int, width: int, model_width: int) -> None:
        super().__init__()
        self.sources = sources
        figures = len(SHARPNESS) * sources * AMOUNTS
        self.log_sharpness_H = nn.Parameter(torch.tensor(SHARPNESS).log())
        # One number is a constant; of the rest a quarter is for the whole history.
        of_whole = max((width - 1) // 4, 1)
        # Not learnt: the directions' sizes are what `fit` gives them, at the sharpness that learning starts from.
        self.asked = nn.Linear(figures, max(width - 1, 2) - of_whole).requires_grad_(False)
        self.whole = nn.Linear(whole, of_whole).requires_grad_(False)
        self.start = nn.Linear(figures, model_width, bias=False)
        nn.init.zeros_(self.start.weight)

    @torch.no_grad()
    def fit(self, figure_NC: Tensor, whole_NF: Tensor) -> None:
        """Set both layers to the principal components of training figures, together of one size.

        A direction in which they do not vary stays zero: in later ones it would be all that shows.
        """
        for layer, seen, size in ((self.asked, figure_NC, ASKED), (self.whole, whole_NF, WHOLE)):
            mean = seen.mean(0)
            _, lengths, directions = torch.linalg.svd((seen - mean).double(), full_matrices=False)
            directions = directions[lengths > VARIES * len(seen) ** 0.5][: layer.out_features].float()
            spread = ((seen - mean) @ directions.T).square().sum(-1).mean().sqrt().clamp_min(VARIES)
            layer.weight.zero_()[: len(directions)] = directions * (size / spread)
            layer.bias.copy_(-layer.weight @ mean)

    def forward(self, pack: Pack, which_BK: Tensor) -> Tensor:
        with torch.autocast(which_BK.device.type, enabled=False):
            by_source_BMS = F.one_hot(pack.source_BM, self.sources).to(pack.amount_BMX.dtype)
            amount_BMY = (by_source_BMS[..., None] * pack.amount_BMX[:, :, None]).flatten(2)
            weight_BKHM = self._weights(pack, which_BK)
            summed_BKHY = (weight_BKHM.flatten(1, 2) @ amount_BMY).unflatten(1, weight_BKHM.shape[1:3])
            return torch.log1p(summed_BKHY).flatten(2)

    def _weights(self, pack: Pack, which_BK: Tensor) -> Tensor:
        (B, K), M = which_BK.shape, pack.amount_BMX.shape[1]
        if not len(pack.query_UV):
            return torch.zeros(B, K, len(SHARPNESS), M, device=which_BK.device)
        row_BK = which_BK.clamp_min(0)
        gap_UT = _similarity(pack) - pack.best_U[:, None]
        gap_BKM = gap_UT[row_BK[..., None], pack.seen_BM[:, None]]
        sharp_H = self.log_sharpness_H.exp().clamp(0.005, 1.0)
        weight_BKHM = (gap_BKM[:, :, None] / sharp_H[:, None]).clamp_max(CLOSEST).exp()
        return weight_BKHM * (which_BK >= 0)[..., None, None]

    def embedded(self, figure_BKC: Tensor, whole_BF: Tensor) -> Tensor:
        """[B, K, E] what is asked, the whole history, a constant."""
        asked_BKE, whole_BE = self.asked(figure_BKC), self.whole(whole_BF)
        whole_BKE = whole_BE[:, None].expand(-1, asked_BKE.shape[1], -1)
        return torch.cat([asked_BKE, whole_BKE, torch.full_like(asked_BKE[..., :1], CONSTANT)], dim=-1)

    def told(self, figure_BKC: Tensor) -> Tensor:
        """[B, K, D] what <USER> is told of it at its start; nothing without an instruction."""
        return self.start(figure_BKC)


def _similarity(pack: Pack) -> Tensor:
    """[U, texts] of each instruction to each of the batch's texts: its words, or the nearest of the values it shows."""
    near_UT = pack.query_UV @ pack.text_TV.T
    # One column of nothing behind the values is where -1 points to.
    near_UG = F.pad(pack.query_UV @ pack.value_GV.T, (0, 1), value=-1.0)
    for value_T in pack.value_TA.T:
        near_UT = torch.maximum(near_UT, near_UG[:, value_T])
    return near_UT
