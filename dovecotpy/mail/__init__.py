"""The mail process: a spare takes a client over from login, becomes the user for good and serves one session.

`__main__` is the fork server, `spare` the worker while it is root, `tenure` what it does once it is the user, `runner` the loop of
a session. What a protocol brings of its own is one `service.Service`.
"""
