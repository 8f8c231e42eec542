"""The side that runs user code: the template that loads a generation, and the workers forked from it."""
