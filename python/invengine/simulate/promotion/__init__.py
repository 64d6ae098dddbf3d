"""A promotion weekend on real baskets: the customers, the client processes around a server, and the evidence."""
