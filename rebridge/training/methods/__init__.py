"""Training methods.

One file a method, each with its section of the configuration.
"""

from rebridge.training.methods.catalogue import METHODS, config_of, create, names, parameters, parse, register, summary

__all__ = ["METHODS", "config_of", "create", "names", "parameters", "parse", "register", "summary"]
