"""A message, its envelope and the words of mail authentication. Pure: no I/O, no clock."""
