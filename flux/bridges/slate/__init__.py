"""Slates: what streams show while their sources are away."""
