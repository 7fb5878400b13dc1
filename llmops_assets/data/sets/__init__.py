"""The sets that stages are trained on: how their rows are chosen, split, counted, compared and described."""
