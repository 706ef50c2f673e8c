"""The front end in C: one header a stage, its parameters and tables made from the Python record."""
