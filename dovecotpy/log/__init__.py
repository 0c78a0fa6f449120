"""The log: the client side that every process uses, and the process that alone writes the log."""
