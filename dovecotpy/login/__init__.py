"""Login processes: accept, TLS, what may be said before login, hand-over to a mail process, and the TLS of those who are logged in.

Everything here is assumed to be taken over by an attacker one day: it runs chrooted as `login_user`, knows no user's data, and
what it says to a mail process is believed only as far as the kernel and the auth process confirm it.

| module | what |
|---|---|
| `session` | a client before login, whatever the protocol: attempts, SASL, what the log says of it. Sans-IO |
| `imap` | the IMAP of it; POP3 takes its place beside |
| `policy` | what the settings allow, worked out once a process |
| `logline` | login_log_format and its elements |
| `tls` | contexts from certificate and key |
| `stream` | a client's octets, plain or TLS |
| `keeper` | what the clients of one process share |
| `client` | one connection: stream, session, request to auth, hand-over |
| `proxy` | a logged-in client's TLS, with back-pressure both ways |
| `authlink` | the connections to the auth processes |
| `mailqueue` | the sender to the mail queue |
| `occupancy` | how many clients a process takes, and what it tells the master |
| `poller` | an epoll with a function behind each descriptor |
| `worker` | the event loop |
"""
