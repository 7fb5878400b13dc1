"""What docs/performance.md's figures come from, one command each; not part of the installed package."""
