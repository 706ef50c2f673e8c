"""C kernels and the descriptors that the planner, the cost model and the code generator all ask."""
