'use strict';
// A session of asterisk-ami-client: promises for answers, an emitter for events.

const AmiClient = require('asterisk-ami-client');
const { CONTEXT, EXTEN, NOBODY, step, Seen, run } = require('./telling.js');

const [host, port, user, secret, channel] = process.argv.slice(2);
const seen = new Seen('Event', 'Channel');

async function session() {
  const client = new AmiClient({ reconnect: false, keepAlive: true, keepAliveDelay: 200 });
  client.on('event', (event) => seen.add(event));
  client.on('internalError', (error) => {
    throw error;
  });
  const closed = new Promise((resolve) => client.once('disconnect', resolve));
  const ask = (action) => client.action(action, true);
  // It tells of success by being connected, and of failure by what it throws.
  const refused = await new AmiClient({ reconnect: false }).connect(user, 'wrong', { host, port }).catch((error) => error);
  step('stranger', { message: refused.message });
  await client.connect(user, secret, { host, port });
  step('login', { connected: client.isConnected });
  step('ping', await ask({ Action: 'Ping' }));
  step('refused', await ask({ Action: 'Hangup', Channel: NOBODY }));
  const answer = await ask({
    Action: 'Originate',
    Channel: channel,
    Context: CONTEXT,
    Exten: EXTEN,
    Priority: 1,
    CallerID: 'Desk <700>',
    Variable: 'ORDER=4711,__COLOUR=red',
    Async: 'true',
    ActionID: 'ours',
  });
  step('originate', answer);
  await seen.wait('the call', () => seen.isTalking());
  await seen.wait('its outcome', () => seen.named('OriginateResponse').length > 0);
  step('outcome', seen.named('OriginateResponse')[0]);
  const listed = await ask({ Action: 'Status' });
  await seen.wait('the list', () => seen.named('StatusComplete').length > 0);
  step('status', [listed, ...seen.named('Status'), ...seen.named('StatusComplete')]);
  step('variable', await ask({ Action: 'Getvar', Channel: seen.channel(), Variable: 'ORDER' }));
  step('command', await ask({ Action: 'Command', Command: 'core show channels count' }));
  step('hangup', await ask({ Action: 'Hangup', Channel: seen.channel() }));
  await seen.wait('the end', () => seen.isOver());
  step('logoff', await ask({ Action: 'Logoff' }));
  await closed;
}

run(session());
