"""A session of asterisk-ami: a thread that reads, futures for actions, listeners for events."""

import sys

from asterisk.ami import AMIClient, SimpleAction
from asterisk.ami.action import Action

from telling import CONTEXT, EXTEN, NOBODY, PATIENCE, Seen, step


def main(host, port, user, secret, channel):
    seen = Seen()
    client = AMIClient(address=host, port=port, timeout=PATIENCE)
    client.add_event_listener(lambda event, **_: seen.add({"Event": event.name, **event.keys}))

    def told(future):
        response = future.response
        if response is None:
            sys.exit("no answer")
        lines = "\n".join(response.follows or [])
        return {"Response": response.status, **response.keys, **({"follows": lines} if lines else {})}

    step("login", told(client.login(username=user, secret=secret)))
    step("ping", told(client.send_action(SimpleAction("Ping"))))
    step("refused", told(client.send_action(SimpleAction("Hangup", Channel=NOBODY))))
    originate = Action(
        "Originate",
        {
            "Channel": channel,
            "Context": CONTEXT,
            "Exten": EXTEN,
            "Priority": 1,
            "CallerID": "Desk <700>",
            "Async": "true",
            "ActionID": "ours",
        },
        {"ORDER": "4711", "__COLOUR": "red"},
    )
    step("originate", told(client.send_action(originate)))
    seen.wait(seen.is_talking)
    seen.wait(seen.is_known)
    step("outcome", seen.named("OriginateResponse")[0])
    answer = told(client.send_action(SimpleAction("Status")))
    seen.wait(seen.is_listed)
    step("status", [answer, *seen.named("Status"), *seen.named("StatusComplete")])
    step("variable", told(client.send_action(SimpleAction("Getvar", Channel=seen.channel(), Variable="ORDER"))))
    step("command", told(client.send_action(SimpleAction("Command", Command="core show channels count"))))
    step("hangup", told(client.send_action(SimpleAction("Hangup", Channel=seen.channel()))))
    seen.wait(seen.is_over)
    step("logoff", told(client.logoff()))


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:6])
