"""Untrusted media: decoded only in a separate, limited process, whose answers are checked too.

Kept free of imports: the decoding process (`models.media.child`) imports this package, and must start quickly.
"""
