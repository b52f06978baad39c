"""Our side: embedding through Packer and UserModel, training through Trainer, and the work that each must do."""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, mm_flop, sdpa_flop

from instructue.batching.ahead import ahead
from instructue.batching.features import HistoryFeatures
from instructue.batching.packs import Ask, Pack
from instructue.config_model import NetworkConfig
from instructue.paths import Paths
from instructue.training.batches import Batches
from instructue.training.build import Parts
from measure.flops import Sizes, Work, packed_work


def embed(
    parts: Parts, network: NetworkConfig, examples: np.ndarray, questions: list[str], known: np.ndarray, batch: int
) -> torch.Tensor:
    """[B, K, E], `batch` histories a pass, the next being packed meanwhile, as the embeddings stage does."""
    parts.model.eval()

    def packed(number: int) -> Pack:
        rows = examples[number * batch : (number + 1) * batch]
        ask = Ask([questions] * len(rows), np.stack([known] * len(rows)), None, network.instruction_tokens)
        return parts.packer.pack(rows, [ask])

    out = []
    for _, pack in ahead(packed, range(-(-len(examples) // batch))):
        with torch.inference_mode(), torch.autocast("cpu", dtype=parts.dtype, enabled=parts.dtype != torch.float32):
            out.append(parts.model(pack).embeddings[0])
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


def embedding_work(
    parts: Parts, network: NetworkConfig, examples: np.ndarray, questions: list[str], batch: int
) -> Work:
    """What embedding `examples` under `questions` needs; a batch reads each question once."""
    lengths = [len(parts.packer.tokens_of(q)[: network.instruction_tokens]) for q in questions]
    segments = [(length, network.retrieved, 1) for length in lengths] * len(examples)
    read = lengths * -(-len(examples) // batch)
    work = packed_work(parts.model.shape.prefix, len(examples), read, segments)
    work.soft = _soft_tokens(parts.features, network, examples, len(questions), None)
    return work


def training_work(parts: Parts, batches: Batches, step: int) -> Work:
    """What a training step needs: the general segment, its triplets, the answers that carry the next-token loss."""
    network, training, tokens_of = batches.config.network, batches.config.training, parts.packer.tokens_of
    examples, rows = batches.plan.examples[step], batches.plan.triplets[step]
    written = round(training.autoregressive_share * rows.shape[1])
    segments, predicted, read = [(0, 0, 1)] * len(examples), 0, {}
    for row in rows:
        for place, triplet in enumerate(row):
            told = len(tokens_of(batches.answer[triplet])[: network.answer_tokens]) + 1 if place < written else 0
            text = batches.instruction[triplet]
            instruction = read[text] = len(tokens_of(text)[: network.instruction_tokens])
            # Read are <USER> and the answer's tokens but its end, behind which nothing is predicted.
            segments.append((instruction, network.retrieved, max(told, 1)))
            predicted += told
    work = packed_work(parts.model.shape.prefix, len(examples), read.values(), segments)
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

    def added(_, a, b, *__, out_val=None, **___) -> int:
        return mm_flop(a, b)

    mapping = {fused: forward, aten._scaled_dot_product_flash_attention_for_cpu_backward: backward, aten.addmm_: added}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        work()
    return counter.get_total_flops()
