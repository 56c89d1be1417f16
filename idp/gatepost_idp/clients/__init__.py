"""Who a client is: registered by RFC 7591 or by hand; where answers to it may go."""
