"""A session over HTTP: /rawman or /mxml with a cookie, /arawman or /amxml with a digest, by requests or by curl."""

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

import requests
from requests.auth import HTTPDigestAuth

from telling import CONTEXT, EXTEN, NOBODY, PATIENCE, Seen, step


class Requests:
    """Cookies and nonces are kept by the library."""

    def __init__(self, url, user, secret, by_digest):
        self.url = url
        self.session = requests.Session()
        if by_digest:
            self.session.auth = HTTPDigestAuth(user, secret)

    def ask(self, parameters, post=False):
        if post:
            answer = self.session.post(self.url, data=parameters, timeout=PATIENCE)
        else:
            answer = self.session.get(self.url, params=parameters, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.text


class Curl:
    """Cookies are kept in a file; a digest is made anew by each process."""

    def __init__(self, url, user, secret, by_digest):
        self.url = url
        self.folder = tempfile.TemporaryDirectory()
        jar = self.folder.name + "/jar"
        self.command = ["curl", "--silent", "--show-error", "--fail", "--max-time", str(PATIENCE)]
        self.command += ["--digest", "--user", f"{user}:{secret}"] if by_digest else ["--cookie", jar, "--cookie-jar", jar]

    def ask(self, parameters, post=False):
        pairs = [word for pair in parameters.items() for word in ("--data-urlencode", "=".join(map(str, pair)))]
        command = [*self.command, *([] if post else ["--get"]), *pairs, self.url]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def blocks(text):
    """The answer and the events in a text, plain or XML."""
    if "<ajax-response>" in text:
        return [dict(part[0].attrib) for part in xml.fromstring(text)]
    parts = text.replace("\r\n", "\n").strip("\n").split("\n\n")
    return [dict(line.split(": ", 1) for line in part.split("\n") if ": " in line) for part in parts]


def name_of(block, name):
    return block.get(name, block.get(name.lower(), ""))


def unified(block):
    """XML has names in lower case; these are needed to follow the call."""
    known = {"event": "Event", "channel": "Channel"}
    return {known.get(name, name): value for name, value in block.items()}


def main(base, user, secret, channel, way, tool):
    seen = Seen()
    by_digest = way.startswith("a")
    client = {"requests": Requests, "curl": Curl}[tool](f"{base}/{way}", user, secret, by_digest)
    # Each curl takes a nonce of its own and so is a session of its own: events of one call are not for it.
    follows = not (by_digest and tool == "curl")

    def ask(post=False, **parameters):
        return [unified(block) for block in blocks(client.ask(parameters, post))]

    def fetch(timeout):
        for block in ask(action="WaitEvent", timeout=timeout)[1:-1]:
            seen.add(block)

    def wait(done):
        for _ in range(PATIENCE):
            if done():
                return
            fetch(timeout=1)
        seen.give_up(done)

    def wait_for_channels(count):
        for _ in range(PATIENCE * 10):
            channels = [block for block in ask(action="Status") if block.get("Event") == "Status"]
            bridges = {name_of(block, "BridgeID") for block in channels}
            if len(channels) == count and len(bridges) < 2 and "" not in bridges:
                return channels
            time.sleep(0.1)
        sys.exit(f"there never were {count} channels, all in one bridge")

    if not by_digest:
        step("stranger", ask(action="Ping")[0])
        step("login", ask(action="Login", username=user, secret=secret)[0])
    if follows:
        # Events are kept for a session from here on.
        fetch(timeout=0)
    step("ping", ask(action="Ping")[0])
    step("refused", ask(action="Hangup", channel=NOBODY)[0])
    originate = {
        "action": "Originate",
        "channel": channel,
        "context": CONTEXT,
        "exten": EXTEN,
        "priority": 1,
        "callerid": "Desk <700>",
        "variable": "ORDER=4711,__COLOUR=red",
        "async": "true",
        "actionid": "ours",
    }
    step("originate", ask(post=True, **originate)[0])
    if follows:
        wait(seen.is_talking)
        wait(seen.is_known)
        step("outcome", seen.named("OriginateResponse")[0])
        first = seen.channel()
    else:
        channels = wait_for_channels(2)
        first = next(block["Channel"] for block in channels if block["Channel"].startswith(channel))
    step("status", ask(action="Status"))
    step("variable", ask(action="Getvar", channel=first, variable="ORDER")[0])
    step("command", ask(action="Command", command="core show channels count")[0])
    if not follows:
        # More than there may be sessions at a time.
        step("many", [ask(action="Ping")[0] for _ in range(120)])
    step("hangup", ask(action="Hangup", channel=first)[0])
    if follows:
        wait(seen.is_over)
    else:
        wait_for_channels(0)
    step("logoff", ask(action="Logoff")[0])


main(*sys.argv[1:7])
