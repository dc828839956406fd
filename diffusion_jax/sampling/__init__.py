"""From noise to samples: the loop, samplers, grids of levels, decoders, and transforms of what they see."""
