"""The milter protocol between Postfix and the filter, without I/O."""
