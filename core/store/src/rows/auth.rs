//! Credentials.

use super::cell::AuthType;
use super::row;

row! {
    /// A row of `ps_auths`: credentials, for challenges we send or answer.
    pub struct Auth = "ps_auths" {
        /// Auth name.
        "id" id: String = String::new();
        /// Userpass, md5 (both deprecated upstream for `digest`), google_oauth. Default: `userpass`.
        "auth_type" auth_type: AuthType = AuthType::default();
        /// Seconds a nonce is good for. Default: `32`.
        "nonce_lifetime" nonce_lifetime: u32 = 32;
        /// Hex MD5(user:realm:password), needs realm.
        "md5_cred" md5_cred: Option<String> = None;
        /// Clear password.
        "password" password: Option<String> = None;
        /// Empty: default_realm (asterisk) inbound, any realm outbound.
        "realm" realm: Option<String> = None;
        /// Digest user.
        "username" username: Option<String> = None;
        /// OAuth refresh token.
        "refresh_token" refresh_token: Option<String> = None;
        /// OAuth client id.
        "oauth_clientid" oauth_clientid: Option<String> = None;
        /// OAuth secret.
        "oauth_secret" oauth_secret: Option<String> = None;
        /// `ALG:hash` list; a comma list.
        "password_digest" password_digest: Vec<String> = Vec::new();
        /// MD5, SHA-256, SHA-512-256; a comma list. Default: `default_auth_algorithms_uas` of `ps_globals`.
        "supported_algorithms_uas" supported_algorithms_uas: Vec<String> = Vec::new();
        /// Digest algorithms we answer: MD5, SHA-256, SHA-512-256; a comma list. Default:
        /// `default_auth_algorithms_uac` of `ps_globals`.
        "supported_algorithms_uac" supported_algorithms_uac: Vec<String> = Vec::new();
    }
}

/// Secrets never reach a log.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("id", &self.id)
            .field("auth_type", &self.auth_type)
            .field("username", &self.username)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_form_of_credentials_shows_no_secret() {
        let auth = Auth {
            id: "100".into(),
            password: Some("s3cret".into()),
            md5_cred: Some("cafe0123".into()),
            oauth_secret: Some("hush".into()),
            ..Auth::default()
        };
        let shown = format!("{auth:?}");
        assert!(shown.contains("100"));
        for secret in ["s3cret", "cafe0123", "hush"] {
            assert!(!shown.contains(secret));
        }
    }
}
