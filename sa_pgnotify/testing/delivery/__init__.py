"""Does delivery hold on a server, through its proxy and its failovers? ``DeliveryCheck``."""
