"""The whole product against a model: random verbs and faults, and what must hold of them."""
