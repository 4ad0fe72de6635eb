"""From a search space to a trained 1-bit network; the only room that imports torch."""
