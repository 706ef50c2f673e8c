"""Floor 4: changes of a model, one pass a file. `network` works on floats, `program` on exact integers."""
