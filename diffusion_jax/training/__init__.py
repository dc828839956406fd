"""Training: one jitted step for every objective, and the loop around it.

Nothing here knows which objective it trains; an objective's `loss` is all that is used, `init` apart.
"""
