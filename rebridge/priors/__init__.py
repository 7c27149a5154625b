"""Pretrained generative models inside restoration bridges."""
