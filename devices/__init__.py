"""Boards: what they are, how they are reached, what they say about themselves."""
