"""DMARC Gate: the part that reports to domain owners later."""
