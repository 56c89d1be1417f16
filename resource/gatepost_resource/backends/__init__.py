"""The operator's MCP servers behind this one: their tools are listed here and called on a person's behalf.

roster       keeps every list fresh and builds the table of tools
rules        ``[[backend]]`` of the catalogue, and the scope of each tool
line         one backend: its list kept fresh, its calls bounded, its failures in plain words
offering     which of its tools are shown, under which name, and why the others are not
vetting      which tools are withheld because they differ from what was approved
approvals    the file of approved tool definitions
survey       the state of every tool, for commands
call         one call on its way to a backend
arguments    validates a call's arguments against the tool's schema
circuit      the circuit breaker of a backend
peer         an MCP client in both protocol eras, with a session per bearer
wire         JSON-RPC over HTTP, bounded in time and size
http1        HTTP/1.1 connections
watched      whether a file has changed
"""
