"""DMARC as RFC 9989 has it: record, discovery by tree walk, evaluation. Pure: look-ups are handed in."""
