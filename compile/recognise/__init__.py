"""Models of other tools → the contract (`compile/model.py`), with unchanged results.

A binary layer is recognised by what it computes and not by how it is spelled: between a convolution
and the value it binarizes stand operators that work on every element by itself (`meaning.py`), and
others that only move elements (`moves.py`). Whatever the former compute, if it is -s below a border
and +s from it on, it is a sign. A rewrite is taken when it has proved itself (`proof.py`).

    foreign.py    operators of other tools get bodies of standard operators
    functions     of the file are inlined, constants are folded (`constants.py`)
    pools.py      maxima are taken before a sign and not after it
    layers.py     Conv, Gemm and MatMul become BinaryConv2d where both sides, or the weights, are ±s
"""
