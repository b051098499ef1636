"""Benchmarks: each measures Bonsai against rivals in the same run and writes its tables and plot to results/."""
