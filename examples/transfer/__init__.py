"""Worked examples of `binas.search.transfer` on stand-in data."""
