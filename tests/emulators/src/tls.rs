//! HTTPS in front of a stand-in, for clients that speak nothing else.
//!
//! The certificate is made anew each time; whoever trusts its PEM as a CA trusts the stand-in, and nobody else does.

use std::{io, net::SocketAddr, sync::Arc};

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
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let key = made.signing_key.serialize_der().try_into().map_err(io::Error::other)?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .map_err(io::Error::other)?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name("stand-in tls".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, TlsAcceptor::from(Arc::new(config)), behind, stopped));
        })?;
        Ok(Self { url, certificate: made.cert.pem(), stop: Some(stop) })
    }

    /// `https://localhost:port`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate to trust, as PEM.
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
