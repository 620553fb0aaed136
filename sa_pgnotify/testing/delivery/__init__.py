"""``DeliveryCheck``: whether delivery holds on a server, through its proxy and its failovers."""
