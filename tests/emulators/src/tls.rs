//! HTTPS in front of a stand-in, for clients that speak nothing else.
//!
//! The authority is made anew each time, signs one certificate and is forgotten: whoever trusts its PEM trusts the
//! stand-in, and nothing else.

use std::{io, net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// A front that unwraps TLS and hands on what is inside; it stops when dropped.
#[derive(Debug)]
pub struct Front {
    url: String,
    certificate: String,
    stop: Option<oneshot::Sender<()>>,
}

impl Front {
    /// Listens on a port of loopback (0: any free one) for a server behind it.
    ///
    /// # Errors
    /// If the port cannot be bound, or the certificate cannot be made.
    pub fn start(port: u16, behind: SocketAddr) -> io::Result<Self> {
        let (config, certificate) = identity().map_err(io::Error::other)?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name("stand-in tls".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, TlsAcceptor::from(Arc::new(config)), behind, stopped));
        })?;
        Ok(Self { url, certificate, stop: Some(stop) })
    }

    /// `https://localhost:port`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority to trust, as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// What the front shows to clients, and the authority behind it as PEM.
fn identity() -> Result<(ServerConfig, String), Box<dyn std::error::Error + Send + Sync>> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Stand-in authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let pem = authority.self_signed(&authority_key)?.pem();
    let key = KeyPair::generate()?;
    let issuer = Issuer::new(authority, authority_key);
    let certificate = server_certificate()?.signed_by(&key, &issuer)?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into()?)?;
    Ok((config, pem))
}

/// Strict clients, such as Python from 3.13 on, want the key identifiers and the usage.
fn server_certificate() -> Result<CertificateParams, rcgen::Error> {
    let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.is_ca = IsCa::ExplicitNoCa;
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    Ok(server)
}

async fn serve(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    behind: SocketAddr,
    mut stopped: oneshot::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => return,
        };
        let Ok((socket, _)) = accepted else { continue };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that breaks off, or does not trust us, is its own affair.
            let Ok(mut inside) = acceptor.accept(socket).await else { return };
            let Ok(mut server) = TcpStream::connect(behind).await else { return };
            let _ = copy_bidirectional(&mut inside, &mut server).await;
        });
    }
}
