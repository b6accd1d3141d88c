"""The mathematics: arrays in, arrays out. Primal, derivation and rule stand together."""
