"""The auth process: who somebody is and what is known of him.

`service` holds the requests and what is decided of them and owns no socket; `server` is the loop around it; `worker` is the process that may
block. Mechanisms, passdb and userdb drivers are a module each, found by name.
"""
