"""Words that every part of Lepton shares. Standard library only, no I/O."""
