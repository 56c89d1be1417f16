"""Other people's tools behind this server: MCP servers of the operator's, listed and called on a person's behalf.

roster       what runs: keeps every list fresh and puts the table of tools together
rules        ``[[backend]]`` of the catalogue, and the scope of each tool
line         one backend: its list kept fresh, its calls bounded, its failures in plain words
offering     which of its tools are shown, under which name, and why the others are not
approvals    what each tool said when it was approved
arguments    a call's arguments against the tool's schema
circuit      whether a backend that failed is asked again yet
peer         MCP as a client speaks it, in both eras, a session for each bearer
wire         JSON-RPC over HTTP, within bounds of time and size
watched      whether a file is another one now
"""
