"""`binas-run`, `-bench`, `-table` and `-report`: answers, times, tables and pages of artifacts."""

from __future__ import annotations

from binas.runtime.commands.bench import bench
from binas.runtime.commands.report import report
from binas.runtime.commands.run import run
from binas.runtime.commands.table import table, table_compare, table_merge, table_show

__all__ = ["bench", "report", "run", "table", "table_compare", "table_merge", "table_show"]
