"""Measure this machine's own kernels with torch and write them as profile tables."""
