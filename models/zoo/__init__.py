"""Built-in networks, data sets and training recipes."""
