//! TLS for the kill test: handshakes by rustls on both ends of a connection, one of which leaves
//! rustls for a tunnel, and a certificate that nobody checks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use perdura_tunnel::tls::{Secrets, Suite, Traffic};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, ServerConfig,
    ServerConnection, SignatureScheme, client, crypto,
};

/// Makes connections of every version and suite, in turn.
pub struct Maker {
    key: Vec<u8>,
    certificate: CertificateDer<'static>,
    count: usize,
}

impl Maker {
    pub fn new() -> Maker {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a key");
        Maker {
            key: own.signing_key.serialize_der(),
            certificate: own.cert.der().clone(),
            count: 0,
        }
    }

    /// The next version and suite: what stays with the outer end, and what the inner end leaves
    /// with. `inner_serves` says which of the two is the server.
    pub fn connect(
        &mut self,
        outer: &TcpStream,
        inner: &TcpStream,
        inner_serves: bool,
    ) -> (Connection, Secrets) {
        let log = Arc::new(Logged::default());
        let (client, server) = self.ends(&log);
        let (client, server) = (Connection::Client(client), Connection::Server(server));
        let (mut own, mut other) = if inner_serves { (server, client) } else { (client, server) };
        while own.is_handshaking() || other.is_handshaking() {
            pass(&mut own, inner, &mut other, outer);
            pass(&mut other, outer, &mut own, inner);
        }
        // Tickets that the inner end has to send belong to the handshake.
        pass(&mut own, inner, &mut other, outer);
        // Those of the outer end go into the tunnel.
        while other.wants_write() {
            other.write_tls(&mut &*outer).expect("an empty socket");
        }
        (other, leave(own, &log.0.lock().expect("no panic"), inner_serves))
    }

    fn ends(&mut self, log: &Arc<Logged>) -> (ClientConnection, ServerConnection) {
        let suite = ["AES_128_GCM", "AES_256_GCM", "CHACHA20"][self.count / 2 % 3];
        let versions: &[&rustls::SupportedProtocolVersion] = match self.count % 2 {
            0 => &[&rustls::version::TLS13],
            _ => &[&rustls::version::TLS12],
        };
        self.count += 1;
        let mut provider = crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|one| format!("{:?}", one.suite()).contains(suite));
        let provider = Arc::new(provider);
        let key = PrivateKeyDer::Pkcs8(self.key.clone().into());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("a suite")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .expect("a certificate");
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("a suite")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        (client.enable_secret_extraction, client.key_log) = (true, Arc::clone(log) as _);
        (server.enable_secret_extraction, server.key_log) = (true, Arc::clone(log) as _);
        let name = ServerName::try_from("localhost").expect("a name");
        (
            ClientConnection::new(Arc::new(client), name).expect("a client"),
            ServerConnection::new(Arc::new(server)).expect("a server"),
        )
    }
}

/// Sends all that `from` has to send, through the sockets, and lets `to` take exactly that.
fn pass(from: &mut Connection, near: &TcpStream, to: &mut Connection, far: &TcpStream) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("a vector");
    }
    (&*near).write_all(&bytes).expect("an empty socket");
    far.set_nonblocking(false).expect("a socket");
    (&*far).read_exact(&mut bytes).expect("what was written");
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("a slice");
        to.process_new_packets().expect("a good handshake");
    }
}

fn leave(connection: Connection, logged: &[Vec<u8>; 2], serves: bool) -> Secrets {
    let is_12 = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_2);
    let extracted = connection.dangerous_extract_secrets().expect("nothing is buffered");
    let traffic = |(seq, secrets): (u64, ConnectionTrafficSecrets), first: &[u8]| {
        let (suite, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Suite::Chacha20Poly1305, key, iv)
            }
            _ => panic!("no such suite was offered"),
        };
        let made = match is_12 {
            true => Traffic::tls12(suite, key.as_ref(), iv.as_ref().try_into().unwrap(), seq),
            false => Traffic::tls13(suite, key.as_ref(), seq, first),
        };
        (suite, made.expect("what rustls gave"))
    };
    let [client, server] = logged;
    let (read, write) = if serves { (client, server) } else { (server, client) };
    let ((suite, read), (_, write)) = (traffic(extracted.rx, read), traffic(extracted.tx, write));
    match is_12 {
        true => Secrets::tls12(suite, read, write),
        false => Secrets::tls13(suite, read, write),
    }
}

/// The first traffic secrets: client's, server's.
#[derive(Debug, Default)]
struct Logged(Mutex<[Vec<u8>; 2]>);

impl rustls::KeyLog for Logged {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let place = match label {
            "CLIENT_TRAFFIC_SECRET_0" => 0,
            "SERVER_TRAFFIC_SECRET_0" => 1,
            _ => return,
        };
        self.0.lock().expect("no panic")[place] = secret.to_vec();
    }
}

/// Anybody's certificate will do.
#[derive(Debug)]
struct Anybody(Arc<crypto::CryptoProvider>);

impl client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<client::danger::ServerCertVerified, rustls::Error> {
        Ok(client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
