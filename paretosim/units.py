"""Unit constants. Everything inside the package is SI: seconds, bytes, bytes/s, flop/s, watts."""

KIB, MIB, GIB = 2**10, 2**20, 2**30
MB, GB = 1e6, 1e9
US, MS = 1e-6, 1e-3
TFLOP = 1e12
