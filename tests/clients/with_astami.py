"""A session of astami, which has calls for actions and none for events: it reads past those. What it reads is noted on its way."""

import asyncio
import sys

from astami import AsyncAMIClient

from telling import CONTEXT, EXTEN, NOBODY, PATIENCE, Seen, step


class Noting(AsyncAMIClient):
    """The client with its eyes open: what it reads is what it would read anyhow."""

    def __init__(self, seen, **settings):
        super().__init__(**settings)
        self.seen = seen

    async def _read_until(self, delimiter):
        raw = await super()._read_until(delimiter)
        pairs = [line.split(": ", 1) for line in raw.strip().split("\r\n") if ": " in line]
        if pairs and pairs[0][0] == "Event":
            self.seen.add(pairs)
        return raw


def told(response):
    return {**response.data, **({"Output": response.output} if response.output else {})}


async def main(host, port, user, secret, channel):
    seen = Seen()
    client = Noting(seen, host=host, port=port, username=user, secret=secret, timeout=PATIENCE)

    async def wait(done):
        """It reads only while it waits for an answer."""
        for _ in range(PATIENCE * 20):
            if done():
                return
            await asyncio.sleep(0.05)
            await client.ping()
        seen.give_up(done)

    await client.connect()
    step("login", told(await client.login()))
    step("ping", told(await client.ping()))
    step("refused", told(await client.hangup(NOBODY)))
    answer = await client.originate(
        channel,
        context=CONTEXT,
        exten=EXTEN,
        caller_id="Desk <700>",
        variables={"ORDER": "4711", "__COLOUR": "red"},
        async_=True,
    )
    step("originate", told(answer))
    await wait(seen.is_talking)
    await wait(seen.is_known)
    step("outcome", seen.named("OriginateResponse")[0])
    answer = await client.send_action({"Action": "Status"})
    await wait(seen.is_listed)
    step("status", [told(answer), *seen.named("Status"), *seen.named("StatusComplete")])
    step("variable", told(await client.get_var(seen.channel(), "ORDER")))
    step("command", told(await client.command("core show channels count")))
    step("put", told(await client.database_put("desk", "colour", "dark red")))
    step("get", told(await client.database_get("desk", "colour")))
    step("hangup", told(await client.hangup(seen.channel())))
    await wait(seen.is_over)
    step("logoff", told(await client.logoff()))
    await client.disconnect()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]))
