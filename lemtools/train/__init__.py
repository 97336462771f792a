"""Train small networks to recall the whole from the fragment: one loop, one checkpoint format, recipes.

A recipe is one line in `recipes.RECIPES`: an objective and the network it takes for each kind of memory.
"""
