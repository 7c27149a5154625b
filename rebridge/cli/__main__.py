"""`python -m rebridge.cli`, the form that torchrun and `accelerate launch -m` need."""

from rebridge.cli import main

main()
