"""What can be learnt, a function each: from settings to a prepared run. catalogue.recipes has their rows."""
