"""The same work against this server and Debian's Dovecot, side by side, interleaved; medians and ratios."""
