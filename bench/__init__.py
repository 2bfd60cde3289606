"""How fast it is, each figure beside the fastest that the same machine does in the same minute."""
