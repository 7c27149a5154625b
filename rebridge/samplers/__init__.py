"""Samplers: each walks any bridge with any denoiser from the degraded image to the clean one."""

from rebridge.samplers.base import Point, Sampler, Walk
from rebridge.samplers.catalogue import create, names

__all__ = ["Point", "Sampler", "Walk", "create", "names"]
