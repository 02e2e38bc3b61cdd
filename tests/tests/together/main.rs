//! Calls through the built exchange, a file for each behaviour. One program for all of them: they wait for telephones more
//! than they compute, and side by side they wait once.

mod asterisk_import;
mod columns;
mod conference;
mod data_functions;
mod direct_media;
mod early_dialog;
mod errors_are_clear;
mod fax;
mod identity;
mod ipv6;
mod listening;
mod local_channels;
mod manager;
mod message_waiting;
mod name_servers;
mod offers;
mod outbound_registration;
mod peers;
mod playing;
mod product_examples;
mod protection;
mod recording;
mod redirection;
mod refer;
mod reliable_provisional;
mod retransmissions;
mod session_timers;
mod sip_over_tcp;
mod sip_over_tls;
mod sip_over_websocket;
mod sipp_calls;
mod subscriptions;
mod telephony;
mod tracing;
mod transports;
