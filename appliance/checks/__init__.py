"""The mechanisms, SPF, DKIM, ARC and DMARC, as functions of a message and the DNS answers known so far."""
