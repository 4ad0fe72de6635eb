"""Search spaces: each file holds a space, its supernet, how to derive and how to build."""
