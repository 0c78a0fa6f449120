"""What every child of the master does first: the start of an exec'ed one, the loop of a fork server, the birth of a worker."""
