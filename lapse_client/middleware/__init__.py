"""Middleware that fills the visit: Django, Flask and any ASGI application. Each needs its own only."""
