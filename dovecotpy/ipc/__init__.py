"""The protocols between two processes: one module each, both its ends and its version in it.

A module here does the bytes (pure functions and small sans-IO classes); `fdpass` alone touches sockets.
"""
