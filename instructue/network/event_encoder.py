"""One encoder and one light adapter per source, all of the same class, built from the number of its columns.

Legend: N soft tokens of one source, V width of a text vector, F numeric features, E encoder width, D model width.
"""

import torch
from torch import Tensor, nn


class EventEncoder(nn.Module):
    """Text vector, figures and role of a soft token -> its place in the source's own space.

    vectors_NV, figures_NF (already normalised), role_N -> encoded_NE. The text passes linearly too, so that
    what the frozen text encoder knows survives whatever the non-linear part learns.
    """

    def __init__(self, text_width: int, features: int, roles: int, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_width, width)
        self.figures = nn.Linear(features, width)
        self.role = nn.Embedding(roles, width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        nn.init.normal_(self.role.weight, std=0.02)

    def forward(self, vectors_NV: Tensor, figures_NF: Tensor, role_N: Tensor) -> Tensor:
        mixed_NE = self.text(vectors_NV) + self.figures(figures_NF) + self.role(role_N)
        return mixed_NE + self.mix(mixed_NE)


class Adapter(nn.Module):
    """Encoder space -> language model space, at the norm that the language model's own tokens have.

    Soft tokens of another norm than the vocabulary's slow the contrastive loss down (measured); the scale is
    a parameter, so training may leave that norm again.
    """

    def __init__(self, width: int, model_width: int, token_rms: float) -> None:
        super().__init__()
        self.project = nn.Linear(width, model_width)
        self.norm = nn.RMSNorm(model_width)
        nn.init.constant_(self.norm.weight, token_rms)

    def forward(self, encoded_NE: Tensor) -> Tensor:
        return self.norm(self.project(encoded_NE))


class SourceEncoders(nn.Module):
    """All sources' encoders and adapters: soft tokens of mixed sources in, model-width vectors out, in order."""

    def __init__(
        self, sources: int, text_width: int, features: int, roles: int, width: int, model_width: int, token_rms: float
    ):
        super().__init__()
        self.encoders = nn.ModuleList(EventEncoder(text_width, features, roles, width) for _ in range(sources))
        self.adapters = nn.ModuleList(Adapter(width, model_width, token_rms) for _ in range(sources))
        self.model_width = model_width
        self.register_buffer("mean_F", torch.zeros(features))
        self.register_buffer("std_F", torch.ones(features))

    def fit_figures(self, figures_NF: Tensor) -> None:
        """Set the normaliser from training tokens."""
        self.mean_F.copy_(figures_NF.mean(0))
        self.std_F.copy_(figures_NF.std(0).clamp_min(1e-3))

    def normalised(self, figures_NF: Tensor) -> Tensor:
        """Figures as the training tokens' mean and spread have them."""
        return (figures_NF - self.mean_F) / self.std_F

    def forward(self, vectors_NV: Tensor, figures_NF: Tensor, source_N: Tensor, role_N: Tensor) -> Tensor:
        figures_NF = self.normalised(figures_NF)
        order_N = torch.argsort(source_N, stable=True)
        counts = torch.bincount(source_N, minlength=len(self.encoders)).tolist()
        parts, start = [], 0
        for encoder, adapter, count in zip(self.encoders, self.adapters, counts, strict=True):
            rows = order_N[start : start + count]
            parts.append(adapter(encoder(vectors_NV[rows], figures_NF[rows], role_N[rows])))
            start += count
        stacked_ND = torch.cat(parts)
        out_ND = torch.empty_like(stacked_ND)
        return out_ND.index_copy(0, order_N, stacked_ND)
