"""Floor 3: a Program in C. Kernels, code generation, board ports, PlatformIO projects and images."""
