"""Module form of the program, which torchrun and `accelerate launch -m` need."""

from rebridge.cli import main

main()
