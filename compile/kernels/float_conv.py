from binas.compile.kernels.float_direct import *
