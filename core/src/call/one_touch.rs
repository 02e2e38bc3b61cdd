//! The record key of a telephone: INFO with `Record: on` or `off` dials the feature that the endpoint's row names for it. What a
//! feature does, and who may use it in a call, is decided where its digits are heard.

use strowger_sip::transaction::ServerId;
use strowger_sip::{Builder, Message};

use crate::channel::Channel;

impl Channel {
    /// An INFO with `Record` in our dialog.
    pub(super) fn on_record(&self, id: ServerId, request: &Message, wanted: &str) {
        let answer = |status, reason| {
            self.answer_request(id, Builder::response_to(request, status, reason).finish());
        };
        let Some(endpoint) = self.endpoint() else {
            return answer(403, "Forbidden");
        };
        let feature = match wanted.trim().to_ascii_lowercase().as_str() {
            "on" => &endpoint.record_on_feature,
            "off" => &endpoint.record_off_feature,
            _ => return answer(400, "Bad Request (Record is on or off)"),
        };
        if !endpoint.one_touch_recording {
            return answer(403, "Forbidden (one_touch_recording of the endpoint is no)");
        }
        let code = self.shard().dialplan().feature_code(self, feature.trim());
        let Some(code) = code else {
            tracing::info!(channel = %self.name(), feature, "no feature of this name: nothing is recorded");
            return answer(403, "Forbidden (there is no such feature)");
        };
        answer(200, "OK");
        for digit in code.chars() {
            self.push_digit(digit);
        }
    }
}
