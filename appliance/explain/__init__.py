"""Verdicts and domains told so that a postmaster understands them: what the command line prints and the pages show."""
