"""Descriptions of the search spaces that ship with the package."""
