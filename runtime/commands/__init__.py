"""The commands of `binas-run`, `binas-bench` and `binas-table`; heavy imports inside."""
