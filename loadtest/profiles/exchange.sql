-- What the profiles dial, as rows of an exchange. {caller} and {callee} are the addresses of the generator's telephones;
-- callers are known by theirs, and called numbers go to the other one. Another server that does the same with these
-- numbers can be tested with the same profiles.
INSERT INTO ps_aors (id, contact) VALUES ('callee', 'sip:{callee}:5060');
INSERT INTO ps_endpoints (id, context, disallow, allow, direct_media) VALUES ('caller', 'load', 'all', 'ulaw', 'no');
INSERT INTO ps_endpoints (id, aors, context, disallow, allow, direct_media) VALUES ('callee', 'callee', 'load', 'all', 'ulaw,alaw', 'no');
INSERT INTO ps_endpoints (id, aors, context, disallow, allow, direct_media) VALUES ('opus', 'callee', 'load', 'all', 'opus', 'no');
INSERT INTO ps_endpoint_id_ips ("id", "endpoint", "match") VALUES ('caller', 'caller', '{caller}');
-- 2x: the server answers, nothing is said.
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_2X.', 1, 'Answer', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_2X.', 2, 'Wait', '60');
-- 3x: echo.
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_3X.', 1, 'Answer', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_3X.', 2, 'Echo', '');
-- 4x: asks for four digits behind a prompt, and echoes to those who know them.
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_4X.', 1, 'Answer', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_4X.', 2, 'Read', 'PIN,demo-instruct,4,,1,20');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_4X.', 3, 'GotoIf', '$["${PIN}" = "2468"]?5');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_4X.', 4, 'Hangup', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_4X.', 5, 'Echo', '');
-- 5x: the room of that number.
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_5X.', 1, 'Answer', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_5X.', 2, 'Set', 'CONFBRIDGE(user,quiet)=yes');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_5X.', 3, 'Set', 'CONFBRIDGE(user,announce_only_user)=no');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_5X.', 4, 'ConfBridge', '${EXTEN}');
-- 6x: a mixed day: some steps of a dialplan, and each fifth call recorded.
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_6X.', 1, 'Set', 'CDR(userfield)=day');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_6X.', 2, 'Set', 'LAST=${EXTEN:-1}');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_6X.', 3, 'ExecIf', '$[${LAST} % 5 = 0]?MixMonitor(day-${EXTEN}.wav,D)');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_6X.', 4, 'Dial', 'PJSIP/${EXTEN}@callee,30');
-- 7x: connected to the callee. 8x: and recorded into one file. 9x: and recorded in stereo.
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_7X.', 1, 'Dial', 'PJSIP/${EXTEN}@callee,30');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_8X.', 1, 'MixMonitor', 'mono-${EXTEN}.wav');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_8X.', 2, 'Dial', 'PJSIP/${EXTEN}@callee,30');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_9X.', 1, 'MixMonitor', 'stereo-${EXTEN}.wav,D');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_9X.', 2, 'Dial', 'PJSIP/${EXTEN}@callee,30');
-- 10x: connected to a callee who speaks Opus only.
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '_10X.', 1, 'Dial', 'PJSIP/${EXTEN}@opus,30');
-- Who asks for calls by the Manager interface.
INSERT INTO static_manager (filename, category, var_name, var_val) VALUES ('manager.conf', 'general', 'enabled', 'yes');
INSERT INTO static_manager (filename, category, var_name, var_val) VALUES ('manager.conf', 'load', 'secret', 'load test');
INSERT INTO static_manager (filename, category, var_name, var_val) VALUES ('manager.conf', 'load', 'write', 'all');
INSERT INTO static_manager (filename, category, var_name, var_val) VALUES ('manager.conf', 'load', 'read', 'all');
-- For the SIPp scenarios: a user with a password, and numbers 1100 (nobody answers), 1200 (early media), 1300 (a mailbox),
-- 1400 (two callees ring), 1500 (hangs up on whoever sends 2468, lets others wait).
INSERT INTO ps_aors (id, max_contacts) VALUES ('sipp', 2000);
INSERT INTO ps_auths (id, auth_type, username, password) VALUES ('sipp', 'userpass', 'sipp', 'sipp secret');
INSERT INTO ps_endpoints (id, aors, auth, context, disallow, allow, direct_media) VALUES ('sipp', 'sipp', 'sipp', 'load', 'all', 'alaw,ulaw', 'no');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1100', 1, 'Dial', 'PJSIP/1100@callee,2');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1100', 2, 'Hangup', '19');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1200', 1, 'Progress', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1200', 2, 'Playback', 'beep,noanswer');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1200', 3, 'Answer', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1200', 4, 'Echo', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1500', 1, 'Answer', '');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1500', 2, 'Read', 'PIN,beep,4,,1,4');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1500', 3, 'GotoIf', '$["${PIN}" = "2468"]?5');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1500', 4, 'Wait', '60');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1500', 5, 'Hangup', '');
INSERT INTO voicemail (mailbox, context, password, fullname) VALUES ('1300', 'default', '2468', 'Load test');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1300', 1, 'VoiceMail', '1300@default,s');
INSERT INTO realtime_extensions (context, exten, priority, app, appdata) VALUES ('load', '1400', 1, 'Dial', 'PJSIP/1400@callee&PJSIP/1401@callee,30');
