"""Tuned layers that the package brings: a JSON file per CPU (`compile/tuning.py`)."""
