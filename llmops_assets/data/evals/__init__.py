"""The sets that a lane is measured on, and how none of their items gets into training."""
