"""Events that no table has: people record them, and they start the period of what refers to them.

Some call this event-based retention.
"""
