"""Rollouts that stay on the manifold: how far a state is off, what brings it back, and the loop with an emulator."""

from .process import Coprocess

__all__ = ["Coprocess"]
