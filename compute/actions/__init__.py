"""The verbs that people and programs invoke: authorise, validate, begin."""
