"""A session of panoramisk: asyncio, a future for each action, callbacks for events."""

import asyncio
import sys

from panoramisk.call_manager import CallManager

from telling import CONTEXT, EXTEN, NOBODY, PATIENCE, Seen, step


async def main(host, port, user, secret, channel):
    seen = Seen()

    async def wait(done):
        for _ in range(PATIENCE * 50):
            if done():
                return
            await asyncio.sleep(0.02)
        seen.give_up(done)

    manager = CallManager(host=host, port=port, username=user, secret=secret)
    manager.register_event("*", lambda _, event: seen.add(event))
    await manager.connect()
    while manager.authenticated_future is None:
        await asyncio.sleep(0)
    step("login", dict(await manager.authenticated_future))
    step("ping", dict(await manager.send_action({"Action": "Ping"})))
    step("refused", dict(await manager.send_action({"Action": "Hangup", "Channel": NOBODY})))
    # What an action is answered with by way of events comes with its answer: the outcome is no event here.
    outcome = await manager.send_action(
        {
            "Action": "Originate",
            "Channel": channel,
            "Context": CONTEXT,
            "Exten": EXTEN,
            "Priority": 1,
            "CallerID": "Desk <700>",
            "Variable": ["ORDER=4711", "__COLOUR=red"],
            "Async": "true",
        }
    )
    step("originate", dict(outcome[0]))
    step("outcome", dict(outcome[1]))
    await wait(seen.is_talking)
    status = await manager.send_action({"Action": "Status"})
    step("status", [dict(message) for message in status])
    step("variable", dict(await manager.send_action({"Action": "Getvar", "Channel": seen.channel(), "Variable": "ORDER"})))
    step("command", dict(await manager.send_command("core show channels count")))
    step("hangup", dict(await manager.send_action({"Action": "Hangup", "Channel": seen.channel()})))
    await wait(seen.is_over)
    step("logoff", dict(await manager.send_action({"Action": "Logoff"})))
    manager.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]))
