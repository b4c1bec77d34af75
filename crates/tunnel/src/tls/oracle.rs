//! The record layer against rustls: one end of each connection leaves rustls behind the handshake,
//! the other stays and judges every record.
//!
//! `PERDURA_TLS_RECORDS=n` makes so many records for each version, suite and end;
//! `PERDURA_SEED=n` replays a seed.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, client, crypto, server};

use super::{Content, Keyring, Message, Owner, Secrets, Stop, Suite, Traffic, Version, open, seal};
use crate::table::{Flow, Progress, TunnelId};
use crate::{Limits, Side, Table};

/// One end after the handshake: secrets in a vault, nothing of rustls.
struct End {
    table: Table,
    keys: Keyring,
    leg: Side,
    version: Version,
    progress: Progress,
}

impl End {
    fn owner(table: &Table) -> Owner<'_> {
        let id = TunnelId { index: 0, generation: 1 };
        Owner { id, vault: table.vault(0).unwrap(), private: false }
    }

    /// The end whose peer is at `leg`.
    fn new(secrets: &Secrets, leg: Side) -> End {
        let limits = Limits { records: 1, chunks: 2, note_bytes: 0, threads: 1 };
        let table = Table::create(limits).unwrap();
        let mut keys = Keyring::default();
        keys.begin(End::owner(&table), leg, secrets);
        let progress = Progress {
            open_seq: secrets.read.seq(),
            seal_seq: secrets.write.seq(),
            ..Progress::default()
        };
        End { table, keys, leg, version: secrets.version, progress }
    }

    fn seal(&mut self, message: Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let owner = End::owner(&self.table);
        seal(&mut self.keys, owner, self.leg, message, &mut self.progress, &mut out).unwrap();
        out
    }

    /// The content of all records in `bytes`, which are whole, and what stopped it.
    fn open(&mut self, bytes: &mut Vec<u8>) -> (Vec<u8>, Stop) {
        let mut content = Vec::new();
        loop {
            let owner = End::owner(&self.table);
            let opened = open(&mut self.keys, owner, self.leg, bytes, &mut self.progress);
            content.extend_from_slice(&bytes[..opened.content]);
            bytes.drain(..opened.used);
            if opened.stop != Stop::Turn || self.progress.closed {
                return (content, opened.stop);
            }
        }
    }
}

/// What rustls keeps of its end.
enum Judge {
    Client(client::ClientConnection),
    Server(server::ServerConnection),
}

impl Judge {
    fn send(&mut self, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut piece = content;
        loop {
            let taken = match self {
                Judge::Client(conn) => conn.writer().write(piece),
                Judge::Server(conn) => conn.writer().write(piece),
            };
            piece = &piece[taken.unwrap()..];
            self.flush(&mut out);
            if piece.is_empty() {
                return out;
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        match self {
            Judge::Client(conn) => while conn.write_tls(out).unwrap() > 0 {},
            Judge::Server(conn) => while conn.write_tls(out).unwrap() > 0 {},
        }
    }

    fn update(&mut self) -> Vec<u8> {
        match self {
            Judge::Client(conn) => conn.refresh_traffic_keys().unwrap(),
            Judge::Server(conn) => conn.refresh_traffic_keys().unwrap(),
        }
        let mut out = Vec::new();
        self.flush(&mut out);
        out
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut content = Vec::new();
        while !bytes.is_empty() {
            match self {
                Judge::Client(conn) => {
                    conn.read_tls(&mut bytes).unwrap();
                    conn.process_new_packets()?;
                    let _ = conn.reader().read_to_end(&mut content);
                }
                Judge::Server(conn) => {
                    conn.read_tls(&mut bytes).unwrap();
                    conn.process_new_packets()?;
                    let _ = conn.reader().read_to_end(&mut content);
                }
            }
        }
        Ok(content)
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
        self.0.lock().unwrap()[place] = secret.to_vec();
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

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Both ends behind a handshake with one version and one suite.
fn shake(version: Version, suite: Suite, logs: [Arc<Logged>; 2]) -> [Judge; 2] {
    let mut provider = crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|one| {
        let name = format!("{:?}", one.suite());
        name.contains(match suite {
            Suite::Aes128Gcm => "AES_128_GCM",
            Suite::Aes256Gcm => "AES_256_GCM",
            Suite::Chacha20Poly1305 => "CHACHA20",
        })
    });
    let provider = Arc::new(provider);
    let versions: &[&rustls::SupportedProtocolVersion] = match version {
        Version::Tls12 => &[&rustls::version::TLS12],
        Version::Tls13 => &[&rustls::version::TLS13],
    };
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let [client_log, server_log] = logs;
    (client.enable_secret_extraction, client.key_log) = (true, client_log);
    (server.enable_secret_extraction, server.key_log) = (true, server_log);
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = client::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = server::ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        let mut out = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut out).unwrap();
        }
        let mut judge = Judge::Server(server);
        judge.take(&out).unwrap();
        let Judge::Server(back) = judge else { unreachable!() };
        server = back;
        let mut out = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut out).unwrap();
        }
        let mut judge = Judge::Client(client);
        judge.take(&out).unwrap();
        let Judge::Client(back) = judge else { unreachable!() };
        client = back;
    }
    [Judge::Client(client), Judge::Server(server)]
}

/// As whoever makes a hand-over does it.
fn secrets(version: Version, extracted: &ExtractedSecrets, [write, read]: [&[u8]; 2]) -> Secrets {
    let traffic = |(seq, secrets): &(u64, ConnectionTrafficSecrets), first: &[u8]| {
        let (suite, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Suite::Chacha20Poly1305, key, iv)
            }
            _ => panic!("no such suite was offered"),
        };
        let iv = iv.as_ref().try_into().unwrap();
        let made = match version {
            Version::Tls12 => Traffic::tls12(suite, key.as_ref(), iv, *seq),
            Version::Tls13 => Traffic::tls13(suite, key.as_ref(), *seq, first),
        };
        (suite, made.unwrap())
    };
    let ((suite, read), (_, write)) = (traffic(&extracted.rx, read), traffic(&extracted.tx, write));
    match version {
        Version::Tls12 => Secrets::tls12(suite, read, write),
        Version::Tls13 => Secrets::tls13(suite, read, write),
    }
}

/// One end leaves rustls, the other judges. `updates` KeyUpdates happen before that.
fn part(version: Version, suite: Suite, leaver: Side, updates: u32) -> (End, Judge) {
    let logs = [Arc::new(Logged::default()), Arc::new(Logged::default())];
    let [mut client, mut server] = shake(version, suite, logs.clone());
    for _ in 0..updates {
        let bytes = client.update();
        server.take(&bytes).unwrap();
        // The answer comes with the next bytes.
        let bytes = server.send(b"x");
        client.take(&bytes).unwrap();
    }
    let logged = logs[leaver.index()].0.lock().unwrap().clone();
    let (extracted, judge) = match (leaver, client, server) {
        (Side::Client, Judge::Client(client), server) => {
            (client.dangerous_extract_secrets().unwrap(), server)
        }
        (Side::Upstream, client, Judge::Server(server)) => {
            (server.dangerous_extract_secrets().unwrap(), client)
        }
        _ => unreachable!(),
    };
    let [own, other] = match leaver {
        Side::Client => [&logged[0][..], &logged[1][..]],
        Side::Upstream => [&logged[1][..], &logged[0][..]],
    };
    // A client's peer is an upstream for us, and a server's is a client.
    (End::new(&secrets(version, &extracted, [own, other]), leaver.other()), judge)
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % limit
    }

    fn bytes(&mut self) -> Vec<u8> {
        let most = [1, 40, 900, 40_000][self.below(4) as usize];
        let (length, start) = (1 + self.below(most), self.below(256));
        (0..length).map(|at| (start + at * 7) as u8).collect()
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Sends random content both ways until `records` were made.
fn converse(end: &mut End, judge: &mut Judge, random: &mut Random, records: u64) {
    let mut made = 0;
    while made < records {
        let content = random.bytes();
        made += 2 * content.len().div_ceil(16_384) as u64;
        let is_13 = end.version == Version::Tls13;
        let mut bytes = Vec::new();
        if is_13 && random.below(50) == 0 {
            bytes = judge.update();
        }
        bytes.extend(judge.send(&content));
        // Every cut of the stream: what is not whole waits.
        let cut = random.below(bytes.len() as u64) as usize;
        let mut first = bytes[..cut].to_vec();
        let (mut opened, stop) = end.open(&mut first);
        assert_eq!(stop, Stop::Partial);
        first.extend_from_slice(&bytes[cut..]);
        let (rest, stop) = end.open(&mut first);
        opened.extend(rest);
        assert!(stop == Stop::Partial && first.is_empty() && opened == content);
        let mut bytes = Vec::new();
        if is_13 && (end.progress.asked != end.progress.answered || random.below(50) == 0) {
            bytes = end.seal(Message::KeyUpdate);
            end.progress.answered = end.progress.asked;
        }
        bytes.extend(end.seal(Message::Data(&content)));
        assert!(judge.take(&bytes).unwrap() == content);
    }
}

#[test]
fn rustls_and_we_agree_about_every_record() {
    let seed = number("PERDURA_SEED").unwrap_or(1);
    let records = number("PERDURA_TLS_RECORDS").unwrap_or(300);
    println!("PERDURA_SEED={seed}");
    let mut random = Random(seed);
    for version in [Version::Tls12, Version::Tls13] {
        for suite in Suite::ALL {
            for leaver in Side::BOTH {
                let updates = if version == Version::Tls13 { random.below(3) as u32 } else { 0 };
                let (mut end, mut judge) = part(version, suite, leaver, updates);
                converse(&mut end, &mut judge, &mut random, records);
                let bytes = end.seal(Message::CloseNotify);
                assert_eq!(judge.take(&bytes).unwrap(), []);
            }
        }
    }
}

#[test]
fn what_somebody_changed_on_the_way_is_refused_by_either() {
    let mut random = Random(number("PERDURA_SEED").unwrap_or(2));
    for version in [Version::Tls12, Version::Tls13] {
        for suite in Suite::ALL {
            let (mut end, mut judge) = part(version, suite, Side::Upstream, 0);
            for _ in 0..50 {
                // Forged from what rustls made; the true one is opened behind it.
                let mut bytes = judge.send(&random.bytes());
                let at = 5 + random.below(bytes.len().min(16_000) as u64 - 5) as usize;
                let mut forged = bytes.clone();
                forged[at] ^= 1 << random.below(8);
                let (content, stop) = end.open(&mut forged);
                assert!(matches!(stop, Stop::Refused(_)) && content.is_empty(), "{stop:?}");
                let (_, stop) = end.open(&mut bytes);
                assert_eq!(stop, Stop::Partial);
                // The same again is a replay.
            }
            let mut bytes = judge.send(b"once");
            let mut replayed = bytes.clone();
            assert_eq!(end.open(&mut bytes).0, b"once");
            assert!(matches!(end.open(&mut replayed).1, Stop::Refused(_)));
            let mut bytes = end.seal(Message::Data(b"back"));
            let at = 5 + random.below(bytes.len() as u64 - 5) as usize;
            bytes[at] ^= 1;
            assert!(judge.take(&bytes).is_err());
        }
    }
}

#[test]
fn a_flood_of_records_without_content_is_ended() {
    let (mut end, _) = part(Version::Tls13, Suite::Aes128Gcm, Side::Upstream, 0);
    let (leg, epoch) = (end.leg, end.progress.open_epoch);
    let mut bytes = Vec::new();
    let key = end.keys.key(End::owner(&end.table), leg, Flow::Open, epoch).unwrap();
    for number in 0..40 {
        key.seal(end.progress.open_seq + number, Content::Data, &[], &mut bytes).unwrap();
    }
    let (content, stop) = end.open(&mut bytes);
    assert!(content.is_empty() && matches!(stop, Stop::Refused(_)), "{stop:?}");
    assert_eq!(end.progress.quiet, super::opening::QUIET_MAX);
}
