"""The master: it reads the configuration, opens the listeners, starts every other process and looks after them.

It never speaks to a client and never parses what a stranger sent. `start` is the order of the start, `server` the loop's
actions, and each rule that can be said without a process stands in a module of its own: `logins`, `spares`, `slots`, `listen`,
`backoff`, `clockwatch`.
"""
