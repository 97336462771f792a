"""When each phone of a sound is spoken: words to phones, an acoustic model, the best path, and finer boundaries."""
