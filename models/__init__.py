"""Floor 1, the ground: what a model is. Network (float, trainable), Program (int8, exact), preprocessing."""
