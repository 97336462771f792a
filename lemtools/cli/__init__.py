"""The commands: parsing and nothing else. Nothing here loads numpy or torch before a command truly runs."""
