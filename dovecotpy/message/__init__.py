"""RFC 5322 and MIME, pure: offsets, headers, envelope, body structure, sections, decoding.

Nothing here opens a file or a socket. Offsets and sizes are octets of the CRLF form of a message.
"""
