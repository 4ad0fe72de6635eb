"""The commands of `binas-search` and `binas-table build`, one per file; heavy imports inside."""
