"""How a session tells the test of what it sees: one JSON object a line, `{"step": ..., "answer": ...}` for what was asked
and `{"event": ...}` for an event, with names and values as the client gave them."""

import json
import sys
import threading

# Who is called, and where the call goes when it is answered.
CONTEXT, EXTEN = "house", "102"
NOBODY = "PJSIP/nobody-0000ffff"
# How long a call may take to get somewhere, in seconds.
PATIENCE = 60


# Threads tell of events while others tell of answers.
VOICE = threading.Lock()


def tell(what):
    with VOICE:
        print(json.dumps(what), flush=True)


def step(name, answer):
    tell({"step": name, "answer": answer})


class Seen:
    """The events so far, from whichever thread they come."""

    def __init__(self):
        self.events = []
        self.condition = threading.Condition()

    def add(self, event):
        event = dict(event)
        with self.condition:
            tell({"event": event})
            self.events.append(event)
            self.condition.notify_all()

    def named(self, name):
        return [event for event in self.events if event.get("Event") == name]

    def is_talking(self):
        """Both sides are in the bridge."""
        return len(self.named("BridgeEnter")) >= 2

    def is_known(self):
        """Who originated the call was told what became of it."""
        return bool(self.named("OriginateResponse"))

    def is_listed(self):
        """The list that was asked for is whole."""
        return bool(self.named("StatusComplete"))

    def is_over(self):
        """Whoever came is gone again."""
        return len(self.named("Hangup")) >= len(self.named("Newchannel")) > 0

    def channel(self):
        """The channel of who was called first."""
        return self.named("Newchannel")[0]["Channel"]

    def wait(self, done):
        with self.condition:
            if not self.condition.wait_for(done, PATIENCE):
                self.give_up(done)

    def give_up(self, done):
        sys.exit(f"{done.__name__} did not become true")
