//! What the dialplan may read of a channel's signalling.

use crate::channel::Channel;

impl Channel {
    /// Every header line of the INVITE that made this channel; none of one that we called.
    pub fn received_headers(&self) -> Vec<(String, String)> {
        let session = self.session();
        let invite = session
            .as_ref()
            .and_then(|session| session.received.as_ref());
        invite.map_or_else(Vec::new, |invite| {
            let headers = invite.all_headers();
            headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        })
    }

    /// An item of `CHANNEL(pjsip,...)`. None: there is no such item; empty where the channel has none.
    pub fn signalling_item(&self, item: &str) -> Option<String> {
        let session = self.session();
        let session = session.as_ref();
        let dialog = session.and_then(|session| session.dialog.as_ref());
        let of_dialog = |read: fn(&strowger_sip::dialog::Dialog) -> String| {
            dialog.map(read).unwrap_or_default()
        };
        let flow = session.map(|session| &session.flow);
        Some(match item {
            "call-id" => of_dialog(|dialog| dialog.id().call_id.to_string()),
            "local_tag" => of_dialog(|dialog| dialog.id().local_tag.to_string()),
            "remote_tag" => of_dialog(|dialog| dialog.id().remote_tag.to_string()),
            "target_uri" => of_dialog(|dialog| dialog.remote_target().to_string()),
            "local_uri" => of_dialog(|dialog| uri_of(dialog.local_party())),
            "remote_uri" => of_dialog(|dialog| uri_of(dialog.remote_party())),
            "request_uri" => session
                .and_then(|session| session.received.as_ref())
                .and_then(|invite| Some(invite.request_uri()?.to_string()))
                .unwrap_or_default(),
            "secure" => u8::from(dialog.is_some_and(|dialog| dialog.is_secure())).to_string(),
            "local_addr" => flow.map(|flow| flow.local.to_string()).unwrap_or_default(),
            "remote_addr" => flow.map(|flow| flow.remote.to_string()).unwrap_or_default(),
            "transport" => flow
                .map(|flow| flow.transport.to_string())
                .unwrap_or_default(),
            "t38state" => "DISABLED".to_owned(),
            _ => return None,
        })
    }

    /// Where its signalling comes from.
    pub fn peer_ip(&self) -> Option<std::net::IpAddr> {
        let session = self.session();
        session.as_ref().map(|session| session.flow.remote.ip())
    }
}

/// The URI of a From or To value.
fn uri_of(party: &str) -> String {
    match (party.find('<'), party.rfind('>')) {
        (Some(open), Some(close)) if open < close => party[open + 1..close].to_owned(),
        _ => party
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}
