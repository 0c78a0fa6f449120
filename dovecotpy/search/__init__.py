"""SEARCH over what it is given (RFC 3501 section 6.4.4), pure: a query tree and its evaluation."""
