"""The trainers that this project is measured against, each in an environment of its own."""
