"""SQL databases: the settings file, the binding of variables, and the connection. Only auth workers import this."""
