"""From a look to what is to be done: pure, one small module per concern."""
