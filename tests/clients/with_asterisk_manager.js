'use strict';
// A session of asterisk-manager: callbacks for answers, an emitter for events; names come in lower case.

const Manager = require('asterisk-manager');
const { CONTEXT, EXTEN, NOBODY, step, Seen, run } = require('./telling.js');

const [host, port, user, secret, channel] = process.argv.slice(2);
const seen = new Seen('event', 'channel');

async function session() {
  const manager = new Manager(Number(port), host, user, secret, true);
  manager.on('managerevent', (event) => seen.add(event));
  // An answer that is an error comes as the first argument too.
  const ask = (action) => new Promise((resolve) => manager.action(action, (error, answer) => resolve(error || answer)));
  const closed = new Promise((resolve) => manager.on('close', resolve));
  step('login', await new Promise((resolve) => manager.once('response', resolve)));
  step('ping', await ask({ action: 'ping' }));
  step('refused', await ask({ action: 'hangup', channel: NOBODY }));
  const answer = await ask({
    action: 'originate',
    channel,
    context: CONTEXT,
    exten: EXTEN,
    priority: 1,
    callerid: 'Desk <700>',
    variable: { ORDER: '4711', __COLOUR: 'red' },
    async: 'true',
  });
  step('originate', answer);
  await seen.wait('the call', () => seen.isTalking());
  await seen.wait('its outcome', () => seen.named('OriginateResponse').length > 0);
  step('outcome', seen.named('OriginateResponse')[0]);
  const listed = await ask({ action: 'status' });
  await seen.wait('the list', () => seen.named('StatusComplete').length > 0);
  step('status', [listed, ...seen.named('Status'), ...seen.named('StatusComplete')]);
  step('variable', await ask({ action: 'getvar', channel: seen.channel(), variable: 'ORDER' }));
  step('command', await ask({ action: 'command', command: 'core show channels count' }));
  step('hangup', await ask({ action: 'hangup', channel: seen.channel() }));
  await seen.wait('the end', () => seen.isOver());
  step('logoff', await ask({ action: 'logoff' }));
  await closed;
}

run(session());
