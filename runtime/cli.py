"""`binas-run`, `binas-bench` and `binas-table`: answers, times and tables of artifacts."""

from __future__ import annotations

from binas.runtime.commands.bench import bench
from binas.runtime.commands.run import run
from binas.runtime.commands.table import table, table_show

__all__ = ["bench", "run", "table", "table_show"]
