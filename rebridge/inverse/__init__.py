"""Zero-shot restoration: a known operator y = A x + noise, a pretrained prior, and no training."""

from rebridge.inverse import operators

__all__ = ["operators"]
