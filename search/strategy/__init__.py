"""How to walk a search space: one algorithm per file."""
