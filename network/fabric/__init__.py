"""The port between the product and whatever moves packets.

``base`` is the contract, ``ovn`` drives a real OVN northbound database, ``fake`` keeps the same
contract in memory. Nothing in this package imports Django.
"""
