"""Writing a guest's network plan down for each kind of guest: pure text.

One module per way of configuring a network; all start from ``network.rules.guest``, and none
decides anything. ``netplan`` also makes the seed's network configuration. The others' texts are
scripts that the guest agent hands to the guest's own shell: they bring the running network to the
plan and leave behind what the next boot needs, and doing so twice changes nothing.
"""
