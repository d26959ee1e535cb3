"""Measurements of the lab's own parts, with bounds that must hold."""
