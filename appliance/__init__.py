"""DMARC Gate: the part that answers mail now."""
