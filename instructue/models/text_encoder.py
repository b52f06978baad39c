"""The frozen sentence encoder (sentence-transformers): unique texts in, unit vectors out, each text once."""

from pathlib import Path

import numpy as np


class TextEncoder:
    """all-MiniLM-L6-v2 or any other sentence-transformers folder.

    encode(texts) -> float32 [n, width], unit length. Repeated texts are encoded once. dtype: what it computes in;
    bfloat16 is three times as fast where the processor has it, and moves a vector by a thousandth.
    """

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype})
        self.width: int = self.model.get_embedding_dimension()

    def encode(self, texts: list[str], *, progress: bool = False) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.width), np.float32)
        unique = list(dict.fromkeys(texts))
        place = {text: index for index, text in enumerate(unique)}
        vectors = self.model.encode(unique, batch_size=128, convert_to_numpy=True, show_progress_bar=progress)
        vectors = np.asarray(vectors, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors[[place[text] for text in texts]]
