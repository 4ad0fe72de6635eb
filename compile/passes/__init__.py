"""Rewrites of the graph, one per file, each with what it needs and what it guarantees."""
