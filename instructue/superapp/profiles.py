"""What the app knows of a user: a few attributes that follow from the latent traits, coarse and partly missing."""

import numpy as np

from instructue.superapp.catalogue import Catalogue
from instructue.superapp.world import PROFILES, Users, stream

MISSING = {"age": 0.2, "gender": 0.1, "phone": 0.15, "city": 0.05, "membership": 0.0}


def make_profiles(catalogue: Catalogue, users: Users, seed: int, block: int) -> dict[str, list[str | None]]:
    """Attribute -> its text for every user of the block, None where it is not known."""
    rng, size = stream(seed, block, PROFILES), len(users)
    ages = np.array([stage["ages"] for stage in catalogue.raw["stages"].values()])
    phones, homes = np.array(catalogue.raw["phones"]), np.array(list(catalogue.raw["homes"]))
    # The dearest phones come first; the richer, the likelier one of them.
    taste = np.log(users.income) + rng.standard_normal(size)
    levels = np.array(["bronze", "silver", "gold"])
    known = {
        "age": ages[users.stage, rng.integers(ages.shape[1], size=size)],
        "gender": np.array(["female", "male"])[rng.integers(2, size=size)],
        "city": homes[users.home],
        "phone": phones[np.clip(np.floor(2.5 - 1.2 * taste), 0, len(phones) - 1).astype(np.int64)],
        "membership": levels[np.digitize(users.activity, [0.8, 1.4])],
    }
    hidden = {name: rng.random(size) < MISSING[name] for name in known}
    return {
        name: [None if gone else str(value) for value, gone in zip(values, hidden[name], strict=True)]
        for name, values in known.items()
    }
