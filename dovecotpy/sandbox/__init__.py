"""What a process gives up: root directory, identity, capabilities, limits, system calls."""
