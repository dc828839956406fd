"""Regularisers of guidance models: what is added to their loss, see `regularisers.base.Regulariser`."""
