'use strict';
// How a session tells the test of what it sees: as telling.py does.

// Who is called, and where the call goes when it is answered.
const CONTEXT = 'house';
const EXTEN = '102';
const NOBODY = 'PJSIP/nobody-0000ffff';
// How long a call may take to get somewhere, in milliseconds.
const PATIENCE = 60000;

function step(name, answer) {
  console.log(JSON.stringify({ step: name, answer }));
}

// The events so far; `name` is how the client writes the header.
class Seen {
  constructor(event, channel) {
    this.events = [];
    this.header = event;
    this.channelHeader = channel;
    this.waiting = [];
  }

  add(event) {
    console.log(JSON.stringify({ event }));
    this.events.push(event);
    this.waiting = this.waiting.filter((wake) => !wake());
  }

  named(name) {
    return this.events.filter((event) => event[this.header] === name);
  }

  // Both sides are in the bridge.
  isTalking() {
    return this.named('BridgeEnter').length >= 2;
  }

  // Whoever came is gone again.
  isOver() {
    const came = this.named('Newchannel').length;
    return came > 0 && this.named('Hangup').length >= came;
  }

  // The channel of who was called first.
  channel() {
    return this.named('Newchannel')[0][this.channelHeader];
  }

  wait(what, done) {
    return new Promise((resolve, reject) => {
      if (done()) {
        resolve();
        return;
      }
      const timer = setTimeout(() => reject(new Error(`${what} did not come`)), PATIENCE);
      this.waiting.push(() => {
        if (!done()) {
          return false;
        }
        clearTimeout(timer);
        resolve();
        return true;
      });
    });
  }
}

// Ends the process with the outcome of a session.
function run(session) {
  session.then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}

module.exports = { CONTEXT, EXTEN, NOBODY, step, Seen, run };
