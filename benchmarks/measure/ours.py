"""Our side: embedding through Packer and UserModel, training through Trainer, and the work that each must do."""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from instructue.batching.features import HistoryFeatures
from instructue.batching.packs import Ask
from instructue.config import NetworkConfig
from instructue.paths import Paths
from instructue.training.batches import Batches
from instructue.training.build import Parts
from measure.flops import Sizes, Work, packed_work

# As the network's mask has it today; the count of useful work follows it.
INSTRUCTION_SEES_HISTORY = True


def embed(
    parts: Parts, network: NetworkConfig, examples: np.ndarray, questions: list[str], known: np.ndarray, batch: int
) -> torch.Tensor:
    """[B, K, E], `batch` histories a pass; a row's shorter and longer questions are two groups, as in `embeddings`."""
    parts.model.eval()
    order = sorted(range(len(questions)), key=lambda q: len(questions[q]))
    half = (len(order) + 1) // 2
    groups = [group for group in (order[:half], order[half:]) if group]
    place = np.argsort(np.concatenate(groups))
    out = []
    for start in range(0, len(examples), batch):
        rows = examples[start : start + batch]
        asks = [
            Ask([[questions[q] for q in g]] * len(rows), np.stack([known[g]] * len(rows)), None,
                network.instruction_tokens)
            for g in groups
        ]  # fmt: skip
        pack = parts.packer.pack(rows, asks)
        with torch.inference_mode(), torch.autocast("cpu", dtype=parts.dtype, enabled=parts.dtype != torch.float32):
            out.append(torch.cat(parts.model(pack).embeddings, dim=1)[:, place])
    return torch.cat(out)


def sizes(parts: Parts, paths: Paths, lora_rank: int) -> Sizes:
    """Sizes of the network. lora_rank 0 counts a network whose LoRA update is added to its weights."""
    from transformers import AutoConfig

    language, shape = AutoConfig.from_pretrained(paths.language_model), parts.model.shape
    width = language.hidden_size
    return Sizes(
        width=width,
        heads=language.num_attention_heads,
        kv_heads=language.num_key_value_heads,
        head_width=getattr(language, "head_dim", None) or width // language.num_attention_heads,
        feed_forward=language.intermediate_size,
        layers=shape.layers,
        vocabulary=language.vocab_size,
        lora_rank=lora_rank,
        encoder_in=shape.text_width + shape.map_width + shape.features,
        encoder=parts.model.encoders.encoders[0].text.out_features,
        summary_in=width * shape.event_sources + shape.map_width,
    )


def embedding_work(parts: Parts, network: NetworkConfig, examples: np.ndarray, questions: list[str]) -> Work:
    """What embedding `examples` under `questions` needs."""
    lengths = [len(parts.packer.tokens_of(q)[: network.instruction_tokens]) for q in questions]
    segments = [(length, network.retrieved + 1) for length in lengths] * len(examples)
    work = packed_work(
        parts.model.shape.prefix, len(examples), segments, instruction_sees_history=INSTRUCTION_SEES_HISTORY
    )
    work.soft = _soft_tokens(parts.features, network, examples, len(questions), None)
    return work


def training_work(parts: Parts, batches: Batches, step: int) -> Work:
    """What a training step needs: the general segment, its triplets, the answers that carry the next-token loss."""
    network, training, tokens_of = batches.config.network, batches.config.training, parts.packer.tokens_of
    examples, rows = batches.plan.examples[step], batches.plan.triplets[step]
    written = round(training.autoregressive_share * rows.shape[1])
    segments, predicted = [(0, 1)] * len(examples), 0
    for row in rows:
        for place, triplet in enumerate(row):
            told = len(tokens_of(batches.answer[triplet])[: network.answer_tokens]) + 1 if place < written else 0
            instruction = len(tokens_of(batches.instruction[triplet])[: network.instruction_tokens])
            segments.append((instruction, network.retrieved + 1 + told))
            predicted += told
    work = packed_work(
        parts.model.shape.prefix, len(examples), segments, instruction_sees_history=INSTRUCTION_SEES_HISTORY
    )
    work.predicted = predicted
    rng = np.random.default_rng([training.seed, step])
    hidden = rng.random((len(examples), len(parts.features.names))) < training.source_dropout
    hidden[:, 0] = False
    work.soft = _soft_tokens(parts.features, network, examples, rows.shape[1], hidden)
    return work


def _soft_tokens(
    features: HistoryFeatures, network: NetworkConfig, examples: np.ndarray, questions: int, hidden: np.ndarray | None
) -> int:
    """Soft tokens that the encoders make: windows, whole sources, telling texts, attributes, retrieved texts."""
    texts = np.diff(features.distinct(examples, hidden).bounds)
    pooled, attributes = features.pooled(examples, hidden)[0], features.attribute_tokens(examples, hidden)[0]
    single = np.minimum(texts, network.frequent).sum() + questions * np.minimum(texts, network.retrieved).sum()
    return len(pooled.source_N) + len(attributes.source_N) + int(single)


def executed_flops(work) -> int:
    """What torch counts while `work` runs, padding and the whole square of attention included."""
    aten = torch.ops.aten
    fused = aten._scaled_dot_product_flash_attention_for_cpu

    def forward(q, k, v, *_, out_val=None, **__) -> int:
        return sdpa_flop(q, k, v)

    def backward(_, q, k, v, *__, out_val=None, **___) -> int:
        return 2 * sdpa_flop(q, k, v)

    mapping = {fused: forward, aten._scaled_dot_product_flash_attention_for_cpu_backward: backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        work()
    return counter.get_total_flops()
