"""The trained network put to use on any histories: vectors, and text written after <USER>."""

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from instructue.api.given import empty_events
from instructue.api.origin import Origin
from instructue.batching.features import HistoryFeatures
from instructue.batching.packs import MOST_KEPT, Ask, Pack, Packer
from instructue.batching.tokens import Fitted
from instructue.errors import ConfigError, DataError
from instructue.models.text_encoder import TextEncoder
from instructue.models.tokenizer import Words
from instructue.paths import Paths
from instructue.sources.tables import Tables, read_vectors
from instructue.sources.values import dictionary_digest, values_of

if TYPE_CHECKING:
    from instructue.tuning.prompt import Prompt

# Segments of one pass: bounds memory, however many instructions stand behind each history.
MOST_SEGMENTS = 1024


@dataclass(frozen=True)
class BaseModelsAt(Paths):
    """Paths whose base models lie elsewhere."""

    folder: Path

    @property
    def base_models(self) -> Path:
        return self.folder


@dataclass
class Grown(Fitted):
    """What was fitted before training, for a dictionary of texts that has grown since.

    A new text counts as rare as one that no training history held, and has no place on the map, whose scale stays.
    """

    scaled_TC: np.ndarray

    @property
    def scaled_map(self) -> np.ndarray:
        return self.scaled_TC

    @staticmethod
    def of(fitted: Fitted, texts: int) -> "Grown":
        new = texts - len(fitted.idf)
        nowhere = np.zeros((new, fitted.map_TC.shape[1]), np.float32)
        idf = np.concatenate([fitted.idf, np.full(new, fitted.idf.max(), np.float32)])
        known = np.concatenate([fitted.known, np.zeros(new, np.float32)])
        maps = [np.concatenate([m, nowhere]) for m in (fitted.map_TC, fitted.share_TC, fitted.scaled_map)]
        return Grown(idf, known, *maps[:2], fitted.center_C, fitted.spread_C, maps[2])


class Network:
    """The network of an origin and the dictionary of texts it knows; the text encoder is loaded when first needed."""

    def __init__(self, origin: Origin) -> None:
        import torch
        from safetensors import SafetensorError

        from instructue.training.build import load

        self.origin, self.config = origin, origin.model
        dataset = origin.dataset
        events = {source.name: empty_events(dataset, source) for source in dataset.sources}
        ranges = {f"{s.name}_{end}": pl.UInt32 for s in dataset.event_sources for end in ("start", "end")}
        nobody = pl.DataFrame(schema={"user": pl.Int64, "snapshot": pl.Datetime("us", dataset.timezone), **ranges})
        try:
            texts = pl.read_parquet(origin.texts)
            values = values_of(dataset, texts)
            vectors = read_vectors(origin.vectors, dictionary_digest(texts, values))
            self.base = Tables(dataset, events, texts, nobody, vectors[0], values, vectors[1])
            paths = BaseModelsAt(origin.bundle, origin.base_models)
            # Loading draws a fresh network first; the caller's random state is none of its business.
            with torch.random.fork_rng(devices=[]):
                self.parts = load(origin.bundle, self.config, self.base, paths)
        except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
            raise DataError(f"{origin.bundle} is damaged or foreign: {error}; train again or fetch it again") from error
        self.parts.model.eval()
        self._encoder: TextEncoder | None = None
        self._said: dict[str, np.ndarray] = {}

    @property
    def dim(self) -> int:
        return self.parts.model.shape.dim

    @property
    def encoder(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = TextEncoder(self.origin.base_models / "text_encoder")
        return self._encoder

    def text_vectors(self, texts: list[str]) -> np.ndarray:
        """[n, V] of instructions; each is encoded once, whatever stands beside it."""
        if len(self._said) > MOST_KEPT:
            self._said.clear()
        if missing := sorted(set(texts) - self._said.keys()):
            self._said |= dict(zip(missing, self.encoder.encode(missing), strict=True))
        return np.stack([self._said[text] for text in texts])

    def cut_short(self, instructions: set[str]) -> list[str]:
        """Those that are longer than model.network.instruction_tokens, whose rest the network does not read."""
        limit = self.config.network.instruction_tokens
        return sorted(text for text in instructions if len(self.parts.packer.tokens_of(text)) > limit)

    def embed(
        self,
        tables: Tables,
        asked: list[list[str]] | None,
        hide: tuple[str, ...],
        batch_size: int,
        prompt: "Prompt | None" = None,
    ) -> np.ndarray:
        """[n, K, E] of the tables' n histories under K instructions each, or [n, 1, E] in general.

        A history is computed once for all of its instructions. The same numbers as embedding.embed's. A prompt stands
        in for the one instruction asked of all.
        """
        import torch

        packer, total = self._packer(tables), tables.histories.height
        K = len(asked[0]) if asked else 1
        out_NKE = np.empty((total, K, self.dim), np.float32)
        rows_a_pass = max(1, min(batch_size, MOST_SEGMENTS // K))
        for start in range(0, total, rows_a_pass):
            rows = np.arange(start, min(start + rows_a_pass, total))
            asks = self._asks([asked[row] for row in rows] if asked else None, len(rows))
            pack = packer.pack(rows, asks, self._hidden(packer, len(rows), hide))
            pack = pack if prompt is None else prompt.put(pack)
            with torch.inference_mode(), self._autocast():
                out_NKE[rows] = self.parts.model(pack).embeddings[0].float().numpy()
        return out_NKE

    def pack(self, tables: Tables, rows: np.ndarray, instruction: str, hide: tuple[str, ...]) -> Pack:
        """Some of the tables' histories under one instruction."""
        packer = self._packer(tables)
        return packer.pack(
            rows, self._asks([[instruction]] * len(rows), len(rows)), self._hidden(packer, len(rows), hide)
        )

    def answers(self, texts: list[str]) -> np.ndarray:
        """[n, E] of answers, in the users' space."""
        from instructue.embedding.embed import embed_answers

        return embed_answers(self.parts, self.encoder, pl.DataFrame({"text": texts}))["vector"].to_numpy()

    def write(self, tables: Tables, instruction: str, hide: tuple[str, ...], most: int) -> list[int]:
        """The tokens that follow <USER> for the first history: the likeliest each time, at most `most`, to the end."""
        import torch

        from instructue.network.packing import Memory

        packer = self._packer(tables)
        pack = packer.pack(np.arange(1), self._asks([[instruction]], 1), self._hidden(packer, 1, hide))
        group, said, memory = pack.groups[0], [], Memory()
        with torch.inference_mode(), self._autocast():
            while len(said) < most:
                answer_BKJ = torch.tensor(said, dtype=torch.int64).view(1, 1, -1)
                # A target marks the places whose next token is asked for: here the last.
                target_BKJ = torch.full((1, 1, len(said) + 1), -100)
                target_BKJ[..., -1] = 0
                pack.groups = [dataclasses.replace(group, answer_BKJ=answer_BKJ, target_BKJ=target_BKJ)]
                output = self.parts.model(pack, with_answers=True, memory=memory)
                token = int(self.parts.model.backbone.logits(output.answer_states_TD).argmax())
                if token == packer.end_id:
                    break
                said.append(token)
        return said

    def decode(self, tokens: list[int]) -> str:
        return Words(self.origin.base_models / "language").text(tokens).strip()

    def parameters(self) -> tuple[int, int]:
        """(learnt, frozen), the latter of the layers of the language model in use."""
        parameters = list(self.parts.model.parameters())
        learnt = sum(p.numel() for p in parameters if p.requires_grad)
        return learnt, sum(p.numel() for p in parameters) - learnt

    def _packer(self, tables: Tables) -> Packer:
        network = self.config.network
        features = HistoryFeatures(tables, network.windows_days, network.map_width)
        features.fitted = Grown.of(self.parts.features.fitted, tables.texts.height)
        packer = copy.copy(self.parts.packer)
        packer.features = features
        return packer

    def _asks(self, asked: list[list[str]] | None, count: int) -> list[Ask]:
        """What is asked of each of `count` histories, K instructions each, or the one segment that asks nothing."""
        if asked is None:
            return [Ask.general(count)]
        vectors = np.stack([self.text_vectors(row) for row in asked])
        return [Ask(asked, vectors, None, self.config.network.instruction_tokens)]

    def _hidden(self, packer: Packer, count: int, hide: tuple[str, ...]) -> np.ndarray | None:
        names = packer.features.names
        if unknown := set(hide) - set(names):
            raise ConfigError(f"hide= names {sorted(unknown)}; the sources are {names}")
        return np.tile(np.isin(names, hide), (count, 1)) if hide else None

    def _autocast(self):
        import torch

        dtype = self.parts.dtype
        return torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32)
