"""Measurements of the broadcast, with bounds that must hold, and of the server that it is compared with."""
