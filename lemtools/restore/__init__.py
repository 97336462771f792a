"""Recall without training: bits, pixels, gaps in sound. numpy only."""
