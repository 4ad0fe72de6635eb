"""From a model to an artifact: the stages of the compiler in reading order."""

from __future__ import annotations

from binas.compile.plan import plan_layers

__all__ = ["plan_layers"]
