//! TLS legs on real sockets: what peers see, what is refused, and what a crash leaves.

use super::*;
use crate::Keeping;
use crate::table::{Flow, Progress};
use crate::tls::{
    Content, Keyring, Message, Owner, Secrets, Stop, Suite, Version, WearLimits, open, sample_pair,
    seal,
};

/// A peer's end of TLS.
struct Peer {
    socket: TcpStream,
    table: Table,
    keys: Keyring,
    /// We, as it sees us.
    us: Side,
    progress: Progress,
    got: Vec<u8>,
}

impl Peer {
    fn new(socket: TcpStream, side: Side, secrets: &Secrets) -> Peer {
        let limit = std::time::Duration::from_secs(WAIT_MAX_S as u64);
        socket.set_read_timeout(Some(limit)).unwrap();
        let limits = Limits { records: 1, chunks: 2, note_bytes: 0, threads: 1 };
        let table = Table::create(limits).unwrap();
        let mut keys = Keyring::default();
        keys.begin(Peer::owner(&table), side.other(), secrets);
        let progress = Progress {
            open_seq: secrets.read.seq(),
            seal_seq: secrets.write.seq(),
            ..Progress::default()
        };
        Peer { socket, table, keys, us: side.other(), progress, got: Vec::new() }
    }

    fn owner(table: &Table) -> Owner<'_> {
        let id = TunnelId { index: 0, generation: 1 };
        Owner { id, vault: table.vault(0).unwrap(), private: false }
    }

    fn seal(&mut self, message: Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let owner = Peer::owner(&self.table);
        seal(&mut self.keys, owner, self.us, message, &mut self.progress, &mut out).unwrap();
        out
    }

    /// Any record at all.
    fn seal_raw(&mut self, content: Content, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let owner = Peer::owner(&self.table);
        let key = self.keys.key(owner, self.us, Flow::Seal, self.progress.seal_epoch).unwrap();
        key.seal(self.progress.seal_seq, content, plain, &mut out).unwrap();
        self.progress.seal_seq += 1;
        out
    }

    fn say(&mut self, message: Message<'_>) {
        let bytes = self.seal(message);
        self.socket.write_all(&bytes).unwrap();
    }

    /// The content of the next records, until there is some, it ends or refuses.
    fn hear(&mut self) -> (Vec<u8>, Stop) {
        let mut content = Vec::new();
        loop {
            let owner = Peer::owner(&self.table);
            let opened = open(&mut self.keys, owner, self.us, &mut self.got, &mut self.progress);
            content.extend_from_slice(&self.got[..opened.content]);
            self.got.drain(..opened.used);
            let done = !content.is_empty() || self.progress.closed;
            if done || matches!(opened.stop, Stop::Refused(_)) {
                return (content, opened.stop);
            }
            if opened.stop == Stop::Turn {
                continue;
            }
            let mut bytes = [0; 4096];
            let count = self.socket.read(&mut bytes).unwrap();
            assert!(count > 0, "ended without close_notify");
            self.got.extend_from_slice(&bytes[..count]);
        }
    }

    /// So many bytes of content.
    fn hear_exactly(&mut self, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            all.extend(self.hear().0);
        }
        assert_eq!(all.len(), bytes);
        all
    }

    /// Whether what comes is close_notify and the FIN.
    fn is_told_of_the_end(&mut self) -> bool {
        let (content, _) = self.hear();
        content.is_empty() && self.progress.closed && self.socket.read(&mut [0; 1]).unwrap() == 0
    }
}

/// A tunnel with TLS towards the client, and its peers.
fn wss_to_ws(
    rig: &mut Rig,
    version: Version,
    first: [&[u8]; 2],
    change: impl FnOnce(&mut Handoff),
) -> (TunnelId, Peer, TcpStream) {
    let ((client, near), (upstream, far)) = (tcp_pair(), tcp_pair());
    let [ours, theirs] = sample_pair(version, Suite::Aes128Gcm, 9);
    let mut handoff = rig.handoff([near.into(), far.into()]);
    handoff.first = first.map(<[u8]>::to_vec);
    handoff.tls = [Some(ours), None];
    change(&mut handoff);
    let now_ms = rig.now_ms;
    let id = rig.engine().adopt(handoff, now_ms).unwrap();
    (id, Peer::new(client, Side::Client, &theirs), upstream)
}

fn simple(rig: &mut Rig) -> (TunnelId, Peer, TcpStream) {
    wss_to_ws(rig, Version::Tls13, [b"", b""], |_| {})
}

/// Whether any secret lies in the vault of a record.
fn has_keys(table: &Table, id: TunnelId) -> bool {
    let vault = table.vault(id.index).unwrap();
    Side::BOTH.iter().any(|leg| {
        [Flow::Open, Flow::Seal]
            .iter()
            .any(|flow| (0..2).any(|epoch| vault.slot(*leg, *flow, epoch) != [0; 6]))
    })
}

#[test]
fn messages_half_close_and_a_report_in_bytes_of_the_protocol() {
    for version in [Version::Tls12, Version::Tls13] {
        let mut rig = Rig::small();
        let (id, mut client, mut upstream) =
            wss_to_ws(&mut rig, version, [b"101", b"hello"], |_| {});
        assert_eq!(client.hear_exactly(3), b"101");
        assert_eq!(read_some(&mut upstream, 5), b"hello");
        client.say(Message::Data(b"ping"));
        rig.turn();
        assert_eq!(read_some(&mut upstream, 4), b"ping");
        assert!(has_keys(&rig.table, id));
        client.say(Message::CloseNotify);
        rig.turn();
        assert_eq!(read_all(&mut upstream), b"");
        upstream.write_all(b"last words").unwrap();
        drop(upstream);
        rig.turn();
        assert_eq!(client.hear_exactly(10), b"last words");
        assert!(client.is_told_of_the_end());
        let report = &rig.engine().reports()[0];
        assert_eq!(report.close, Close::ClientClosed);
        assert_eq!((report.read, report.written), ([4, 10], [13, 9]));
        assert!(!has_keys(&rig.table, id), "no key outlives its tunnel");
        assert_eq!(rig.seats.free_chunks(), 64);
    }
}

#[test]
fn both_legs_and_records_cut_at_every_byte() {
    let mut rig = Rig::small();
    let ((client, near), (upstream, far)) = (tcp_pair(), tcp_pair());
    let [ours, theirs] = sample_pair(Version::Tls13, Suite::Chacha20Poly1305, 3);
    let [ours_too, theirs_too] = sample_pair(Version::Tls12, Suite::Aes256Gcm, 4);
    let mut handoff = rig.handoff([near.into(), far.into()]);
    handoff.tls = [Some(ours), Some(ours_too)];
    rig.engine().adopt(handoff, 0).unwrap();
    let mut client = Peer::new(client, Side::Client, &theirs);
    let mut upstream = Peer::new(upstream, Side::Upstream, &theirs_too);
    let bytes = client.seal(Message::Data(b"one byte after the other"));
    for byte in &bytes {
        client.socket.write_all(&[*byte]).unwrap();
        rig.turn();
    }
    assert_eq!(upstream.hear_exactly(24), b"one byte after the other");
    // Many records at once, and content longer than a record.
    let long: Vec<u8> = (0..100_000).map(|at| at as u8).collect();
    let mut bytes = Vec::new();
    for piece in long.chunks(1_000) {
        bytes.extend(upstream.seal(Message::Data(piece)));
    }
    upstream.socket.write_all(&bytes).unwrap();
    rig.settle();
    assert!(client.hear_exactly(100_000) == long);
    upstream.say(Message::CloseNotify);
    client.say(Message::CloseNotify);
    rig.turn();
    rig.settle();
    assert!(client.is_told_of_the_end() && upstream.is_told_of_the_end());
    assert_eq!(rig.engine().reports().len(), 1);
}

#[test]
fn what_was_changed_on_the_way_is_told_to_its_sender_and_relayed_to_nobody() {
    let mut rig = Rig::small();
    let (_, mut client, mut upstream) = simple(&mut rig);
    let good = client.seal(Message::Data(b"good"));
    let mut bad = client.seal(Message::Data(b"bad"));
    bad[9] ^= 1;
    client.socket.write_all(&[good, bad].concat()).unwrap();
    rig.turn();
    rig.settle();
    assert_eq!(rig.engine().reports()[0].close, Close::ClientTls);
    assert_eq!(read_some(&mut upstream, 4), b"good");
    let error = upstream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let (content, stop) = client.hear();
    assert!(content.is_empty() && stop == Stop::Refused(crate::tls::Misdeed::Said), "{stop:?}");
}

#[test]
fn an_end_that_was_not_announced_is_passed_on_as_a_reset() {
    let mut rig = Rig::small();
    let (_, mut client, mut upstream) = simple(&mut rig);
    let bytes = client.seal(Message::Data(b"half of it never comes"));
    client.socket.write_all(&bytes[..20]).unwrap();
    client.socket.shutdown(Shutdown::Write).unwrap();
    rig.turn();
    rig.settle();
    assert_eq!(rig.engine().reports()[0].close, Close::ClientTruncated);
    let error = upstream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn what_the_protocol_has_ended_itself_nobody_can_cut_off() {
    let mut rig = Rig::small();
    let head = b"101".to_vec();
    let (_, mut client, mut upstream) = wss_to_ws(&mut rig, Version::Tls13, [&head, b""], |h| {
        h.framing = Framing::WebSocket { head: 3 };
    });
    client.say(Message::Data(&[0x88, 0x82, 1, 2, 3, 4, 2, 0xea]));
    rig.turn();
    client.socket.shutdown(Shutdown::Write).unwrap();
    rig.turn();
    assert_eq!(read_all(&mut upstream).len(), 8, "the Close frame, then a FIN");
}

#[test]
fn a_key_update_is_answered_and_both_sides_go_on() {
    let mut rig = Rig::small();
    let (_, mut client, mut upstream) = simple(&mut rig);
    for round in 0..5 {
        let bytes = client.seal_raw(Content::Handshake, &[24, 0, 0, 1, 1]);
        client.socket.write_all(&bytes).unwrap();
        // Its own key changes behind it.
        let owner = Peer::owner(&client.table);
        let epoch = client.progress.seal_epoch;
        client.keys.prepare_next(owner, client.us, Flow::Seal, epoch).unwrap();
        (client.progress.seal_epoch, client.progress.seal_seq) = (epoch + 1, 0);
        client.say(Message::Data(b"with the new key"));
        rig.turn();
        assert_eq!(read_some(&mut upstream, 16), b"with the new key");
        upstream.write_all(b"so do we").unwrap();
        rig.turn();
        assert_eq!(client.hear_exactly(8), b"so do we");
        assert_eq!(client.progress.open_epoch, round + 1, "answered once for each");
        rig.crash_and_go_on();
    }
}

#[test]
fn a_worn_key_is_changed_and_one_that_cannot_be_ends_the_tunnel() {
    for version in [Version::Tls13, Version::Tls12] {
        let mut rig = Rig::small();
        let (_, mut client, mut upstream) = wss_to_ws(&mut rig, version, [b"", b""], |_| {});
        // What the handshake may have used counts; the sample began at its first record.
        rig.engine().desk.wear = WearLimits { rekey_blocks: 3_000, blocks_max: 6_000 };
        let block = [7; 10_000];
        let mut closed = None;
        for _ in 0..12 {
            upstream.write_all(&block).unwrap();
            rig.turn();
            closed = rig.engine().reports().first().map(|report| report.close);
            if closed.is_some() {
                break;
            }
            assert_eq!(client.hear_exactly(block.len()), block);
        }
        match version {
            Version::Tls13 => assert!(closed.is_none() && client.progress.open_epoch >= 2),
            Version::Tls12 => assert_eq!(closed, Some(Close::KeyLimit)),
        }
    }
}

#[test]
fn a_peer_that_takes_nothing_costs_no_chunk_and_loses_nothing() {
    let mut rig = Rig::small();
    let (_, mut client, mut upstream) = simple(&mut rig);
    let chunks = rig.seats.free_chunks();
    upstream.set_nonblocking(true).unwrap();
    let mut sent = Vec::new();
    let mut idle = 0;
    while idle < 3 {
        let block: Vec<u8> = (0..50_000).map(|at| ((sent.len() + at) % 251) as u8).collect();
        match upstream.write(&block) {
            Ok(bytes) => {
                sent.extend_from_slice(&block[..bytes]);
                idle = 0;
            }
            Err(_) => idle += 1,
        }
        rig.settle();
    }
    assert_eq!(rig.seats.free_chunks(), chunks);
    let live = rig.table.snapshot().next().unwrap();
    assert!((1..=CHUNK_BYTES as u64).contains(&live.kept[Side::Client]), "{:?}", live.kept);
    // The worker dies while a record is half sent.
    rig.crash_and_go_on();
    let reader = std::thread::spawn(move || {
        let got = client.hear_exactly(sent.len());
        (client, got == sent)
    });
    while !reader.is_finished() {
        rig.settle();
    }
    assert!(reader.join().unwrap().1, "every byte once and in order");
}

#[test]
fn private_keys_die_with_their_worker() {
    let mut rig = Rig::small();
    let (id, mut client, mut upstream) =
        wss_to_ws(&mut rig, Version::Tls13, [b"", b""], |h| h.keeping = Keeping::Private);
    client.say(Message::Data(b"works"));
    rig.turn();
    assert_eq!(read_some(&mut upstream, 5), b"works");
    assert!(!has_keys(&rig.table, id), "nothing of them is in the table");
    let recovered = rig.crash();
    assert_eq!(recovered.dropped.iter().map(|d| d.why).collect::<Vec<_>>(), [RecordFault::Keys]);
    rig.engine = Some(recovered.engine);
    assert_eq!(rig.engine().reports()[0].close, Close::KeysLost);
    assert_eq!((rig.seats.in_use(), rig.engine().len()), (0, 0));
}

#[test]
fn every_flipped_byte_of_a_vault_is_refused_or_harmless() {
    let mut rig = Rig::small();
    let (id, mut client, _upstream) = simple(&mut rig);
    client.say(Message::Data(b"x"));
    rig.turn();
    let vault = rig.table.raw_vault(id.index);
    let before = vault.to_vec();
    for at in 0..before.len() {
        for flip in [1, 0x80, 0xff] {
            vault.part(at, at + 1).fill(&[before[at] ^ flip]);
            // Neither a look nor a check may panic.
            let _ = rig.table.snapshot().count();
            let record = rig.table.record(id.index).unwrap();
            let _ = check(&rig.table, id.index, record);
            vault.fill(&before);
        }
    }
    client.say(Message::Data(b"y"));
    rig.turn();
    assert_eq!(rig.engine().reports(), []);
}

#[test]
fn an_idle_tunnel_with_tls_costs_about_a_kilobyte() {
    let limits = Limits { records: 256, chunks: 64, note_bytes: 1 << 20, threads: 1 };
    let mut rig = Rig::new(limits);
    let open = |rig: &mut Rig| {
        let change = |handoff: &mut Handoff| handoff.note = vec![7; 192];
        wss_to_ws(rig, Version::Tls13, [b"", b""], change)
    };
    // What the first one needs, all need.
    let mut tunnels = vec![open(&mut rig)];
    rig.settle();
    let before = allocated(&rig.table);
    for _ in 0..200 {
        tunnels.push(open(&mut rig));
    }
    for (_, client, upstream) in &mut tunnels {
        client.say(Message::Data(b"used once"));
        rig.turn();
        assert_eq!(read_some(upstream, 9), b"used once");
    }
    let each = (allocated(&rig.table) - before) / 200;
    assert!(each <= 1_300, "{each} bytes of shared memory for each");
}

#[test]
fn a_tunnel_without_tls_has_no_keys_to_lose() {
    let mut rig = Rig::small();
    let ((mut client, near), (mut upstream, far)) = (tcp_pair(), tcp_pair());
    let mut handoff = rig.handoff([near.into(), far.into()]);
    handoff.keeping = Keeping::Private;
    rig.engine().adopt(handoff, 0).unwrap();
    rig.crash_and_go_on();
    client.write_all(b"goes on").unwrap();
    rig.turn();
    assert_eq!(read_some(&mut upstream, 7), b"goes on");
}
