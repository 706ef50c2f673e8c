"""Passes over a Program: lower, simplify, choose kernels, plan memory, cost."""
