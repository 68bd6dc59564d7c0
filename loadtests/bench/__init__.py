"""The speed table: every figure measured in one run, most of them as ratios to floors."""
