"""The launcher: it plans the members of a sweep, submits them and follows them to their end."""
