"""A mail server that accepts everything and prints who got mail when: ``python bench/receiver.py PORT``.

A separate, minimal process, so that it does not distort the measurement. Times are seconds of CLOCK_MONOTONIC, which
all processes of a machine share.
"""

import asyncio
import sys
import time

ANSWERS = {b"EHLO": b"250-receiver\r\n250 8BITMIME\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 receiver\r\n")
    recipient = b""
    while line := await reader.readline():
        verb = line[:4].upper()
        if verb == b"RCPT":
            recipient = line[line.index(b"<") + 1 : line.index(b">")]
        writer.write(ANSWERS.get(verb, b"250 ok\r\n"))
        if verb == b"QUIT":
            break
        if verb == b"DATA":
            await reader.readuntil(b"\r\n.\r\n")
            sys.stdout.write(f"{recipient.decode()} {time.perf_counter()}\n")
            sys.stdout.flush()
            writer.write(b"250 kept\r\n")
    writer.close()


async def main() -> None:
    """Serves until it is terminated."""
    server = await asyncio.start_server(_serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
