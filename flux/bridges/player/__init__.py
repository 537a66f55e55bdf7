"""The pages for people: a player for each stream and a list of streams."""
