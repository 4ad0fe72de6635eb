"""Kernels as TIR generators, one family per file, each beside its slow meaning in numpy."""
