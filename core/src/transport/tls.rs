//! TLS of transports: certificates and keys from files, read again when they change, so that a renewed certificate counts
//! from the next connection on and nothing is interrupted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minimum {
    Tls12,
    Tls13,
}

impl Minimum {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] =
            [&rustls::version::TLS12, &rustls::version::TLS13];
        match self {
            Self::Tls12 => &ALL,
            Self::Tls13 => &ALL[1..],
        }
    }
}

/// Where certificates and keys lie, and who has to show one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate with those between it and its authority, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM; may stand in the same file.
    pub key: Option<PathBuf>,
    /// Authorities we trust, PEM; none: those of the system.
    pub authorities: Option<PathBuf>,
    /// A certificate that a client shows has to be good.
    pub verify_client: bool,
    /// A client has to show one.
    pub require_client_cert: bool,
    /// The certificate of a server we connect to has to be good and its own.
    pub verify_server: bool,
    pub minimum: Minimum,
}

/// Why TLS cannot be spoken: which setting, which file, what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} is missing: a file in PEM is needed")]
    Missing { what: &'static str },
    #[error("{what} {path}: {why}")]
    File {
        what: &'static str,
        path: PathBuf,
        why: String,
    },
    #[error("{0}")]
    Refused(String),
}

const CERTIFICATE: &str = "cert_file (certificate)";
const KEY: &str = "priv_key_file (key)";
const AUTHORITIES: &str = "ca_list_file (ca)";

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::File {
        what,
        path: path.to_owned(),
        why: error.to_string(),
    })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(what, path)?;
    let fail = |why: String| TlsError::File {
        what,
        path: path.to_owned(),
        why,
    };
    let list: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| fail(error.to_string()))?;
    if list.is_empty() {
        return Err(fail("holds no certificate in PEM".into()));
    }
    Ok(list)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(files: &TlsFiles) -> Result<Option<Identity>, TlsError> {
    let Some(certificate) = &files.certificate else {
        return Ok(None);
    };
    let chain = certificates(CERTIFICATE, certificate)?;
    let path = files.key.as_ref().unwrap_or(certificate);
    let pem = read(KEY, path)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| TlsError::File {
        what: KEY,
        path: path.clone(),
        why: format!("holds no private key in PEM without encryption ({error})"),
    })?;
    Ok(Some((chain, key)))
}

fn authorities(files: &TlsFiles) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match &files.authorities {
        Some(path) => {
            for certificate in certificates(AUTHORITIES, path)? {
                roots.add(certificate).map_err(|error| TlsError::File {
                    what: AUTHORITIES,
                    path: path.clone(),
                    why: error.to_string(),
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn refused(error: impl std::fmt::Display) -> TlsError {
    TlsError::Refused(error.to_string())
}

fn server(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let (chain, key) = identity(files)?.ok_or(TlsError::Missing { what: CERTIFICATE })?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(files.minimum.versions())
        .map_err(refused)?;
    let builder = if files.verify_client {
        let roots = Arc::new(authorities(files)?);
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if !files.require_client_cert {
            verifier = verifier.allow_unauthenticated();
        }
        builder.with_client_cert_verifier(verifier.build().map_err(refused)?)
    } else {
        builder.with_no_client_auth()
    };
    builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Refused(format!("{CERTIFICATE} and {KEY}: {error}")))
}

fn client(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(files.minimum.versions())
        .map_err(refused)?;
    let builder = if files.verify_server {
        builder.with_root_certificates(authorities(files)?)
    } else {
        let any = Anyone(provider().signature_verification_algorithms);
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(any))
    };
    match identity(files)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| TlsError::Refused(format!("{CERTIFICATE} and {KEY}: {error}"))),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// `verify_server=no`: whoever answers is taken, as long as he holds the key of what he shows.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// What tells that a file is another than before.
type Stamp = Vec<Option<(SystemTime, u64)>>;

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.certificate, &files.key, &files.authorities]
        .into_iter()
        .map(|path| {
            let about = std::fs::metadata(path.as_ref()?).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
        .collect()
}

/// The TLS of one transport, as its files were when they were last good.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    server: ArcSwap<ServerConfig>,
    client: ArcSwap<ClientConfig>,
    seen: Mutex<Stamp>,
}

impl Tls {
    /// Reads the files. Not for a signalling thread: it waits for the disk.
    ///
    /// # Errors
    /// A file is missing or cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let seen = stamp(files);
        Ok(Self {
            server: ArcSwap::from_pointee(server(files)?),
            client: ArcSwap::from_pointee(client(files)?),
            files: files.clone(),
            seen: Mutex::new(seen),
        })
    }

    /// What serves connections that speak one of these protocols (RFC 7301), as the files are now.
    pub fn server_for(&self, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.server.load());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    /// Reads the files anew if they changed, or in any case. True if new ones count now.
    ///
    /// # Errors
    /// A file cannot be used: the former ones stay.
    pub fn renew(&self, in_any_case: bool) -> Result<bool, TlsError> {
        let now = stamp(&self.files);
        {
            let mut seen = self.seen.lock();
            if *seen == now && !in_any_case {
                return Ok(false);
            }
            // Told once for each change, also when it is a bad one.
            *seen = now;
        }
        let (server, client) = (server(&self.files)?, client(&self.files)?);
        self.server.store(Arc::new(server));
        self.client.store(Arc::new(client));
        Ok(true)
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.server.load_full().into()
    }

    pub(crate) fn connector(&self) -> tokio_rustls::TlsConnector {
        self.client.load_full().into()
    }

    pub(crate) fn files(&self) -> &TlsFiles {
        &self.files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> TlsFiles {
        TlsFiles {
            certificate: Some(folder.join("cert.pem")),
            key: Some(folder.join("key.pem")),
            authorities: None,
            verify_client: false,
            require_client_cert: false,
            verify_server: false,
            minimum: Minimum::Tls12,
        }
    }

    fn write(files: &TlsFiles) {
        let made = rcgen::generate_simple_self_signed(vec!["pbx.example".to_owned()]).unwrap();
        std::fs::write(files.certificate.as_ref().unwrap(), made.cert.pem()).unwrap();
        std::fs::write(
            files.key.as_ref().unwrap(),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
    }

    #[test]
    fn a_fault_names_its_setting_and_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path());
        let told = |files: &TlsFiles| Tls::load(files).unwrap_err().to_string();
        assert!(told(&files).contains("cert_file") && told(&files).contains("cert.pem"));
        write(&files);
        assert!(Tls::load(&files).is_ok());
        std::fs::write(folder.path().join("key.pem"), "nothing").unwrap();
        assert!(told(&files).contains("priv_key_file"), "{}", told(&files));
        let other = rcgen::KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("key.pem"), other.serialize_pem()).unwrap();
        assert!(Tls::load(&files).is_err(), "the key of another certificate");
        write(&files);
        files.verify_client = true;
        files.authorities = Some(folder.path().join("key.pem"));
        assert!(told(&files).contains("ca_list_file"), "{}", told(&files));
        files.certificate = None;
        assert!(told(&files).contains("cert_file"), "{}", told(&files));
    }

    #[test]
    fn files_that_change_are_read_again_and_bad_ones_leave_the_former() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        write(&files);
        let tls = Tls::load(&files).unwrap();
        assert!(!tls.renew(false).unwrap());
        let before = tls.server.load_full();
        std::fs::write(folder.path().join("cert.pem"), "half a file").unwrap();
        assert!(tls.renew(false).is_err());
        assert!(!tls.renew(false).unwrap(), "told once");
        assert!(Arc::ptr_eq(&before, &tls.server.load_full()));
        write(&files);
        assert!(tls.renew(true).unwrap());
        assert!(!Arc::ptr_eq(&before, &tls.server.load_full()));
    }
}
