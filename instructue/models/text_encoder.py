"""The frozen sentence encoder (sentence-transformers): unique texts in, unit vectors out, each text once."""

from pathlib import Path

import numpy as np


class TextEncoder:
    """all-MiniLM-L6-v2 or any other sentence-transformers folder.

    encode(texts) -> float32 [n, width], unit length. Repeated texts are encoded once.
    """

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(folder), device="cpu")
        self.width: int = self.model.get_embedding_dimension()

    def encode(self, texts: list[str], *, progress: bool = False) -> np.ndarray:
        unique = list(dict.fromkeys(texts))
        place = {text: index for index, text in enumerate(unique)}
        vectors = self.model.encode(
            unique, batch_size=128, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=progress
        )
        return np.asarray(vectors, dtype=np.float32)[[place[text] for text in texts]]
