"""How far a lane's preferences can be trusted: figures, limits with verdicts, and pictures."""
