"""Where images come from: one source per file, each gives a `Dataset` (`search/data.py`)."""
