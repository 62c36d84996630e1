"""The admin API: what operators' tools and the sites themselves may ask, over TLS, with a token."""

from lapse.admin.app import create_app

__all__ = ["create_app"]
