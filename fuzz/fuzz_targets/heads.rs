//! Request heads: no panic, the same answer however the bytes are cut, and what was read can be written
//! and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perdura_proxy::h1::{
    HeadFault, HeadWriter, InvalidFields, Progress, RequestHead, RequestParser, RequestRules,
    Underscores, connection_tokens, request_framing, upgrade_tokens,
};
use perdura_proxy::uri::Slashes;

fuzz_target!(|input: &[u8]| {
    let Some((&[rules, step], text)) = input.split_first_chunk::<2>() else { return };
    let rules = rules_from(rules);
    let whole = read(text, &rules, usize::MAX);
    let cut = read(text, &rules, usize::from(step).max(1));
    match (whole, cut) {
        (Err(whole), Err(cut)) => assert_eq!(whole, cut),
        (Ok(None), Ok(None)) => {}
        (Ok(Some(whole)), Ok(Some(cut))) => {
            assert_eq!(told(&whole), told(&cut));
            look_at(&whole);
        }
        (whole, cut) => panic!("{whole:?} and, cut into pieces of {step}, {cut:?}"),
    }
});

fn rules_from(bits: u8) -> RequestRules {
    RequestRules {
        underscores: if bits & 1 == 0 { Underscores::Invalid } else { Underscores::Allowed },
        invalid: if bits & 2 == 0 { InvalidFields::Dropped } else { InvalidFields::Kept },
        header_buffer: if bits & 4 == 0 { 1024 } else { 16 },
        large_buffers: if bits & 8 == 0 { (4, 8192) } else { (2, 48) },
        max_headers: if bits & 16 == 0 { 1000 } else { 3 },
    }
}

fn read(text: &[u8], rules: &RequestRules, step: usize) -> Result<Option<RequestHead>, HeadFault> {
    let mut parser = RequestParser::new(rules);
    let mut buffer = Vec::new();
    let mut pieces = text.chunks(step);
    loop {
        match parser.parse(&buffer, rules)? {
            Progress::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => return Ok(None),
            },
            Progress::Skip { length } => drop(buffer.drain(..length)),
            Progress::Complete { length } => {
                buffer.truncate(length);
                return Ok(Some(parser.finish(buffer.into())));
            }
        }
    }
}

fn told(head: &RequestHead) -> Vec<&[u8]> {
    let mut all = vec![head.method(), head.target(), head.request_line(), head.unparsed_uri()];
    all.extend([head.protocol(), head.raw_path(), head.args().unwrap_or_default()]);
    all.extend(head.fields().iter().flat_map(|(name, value)| [name, value]));
    all
}

fn look_at(head: &RequestHead) {
    let _ = (head.scheme(), head.target_authority(), head.is_quoted());
    connection_tokens(head.fields()).chain(upgrade_tokens(head.fields())).for_each(drop);
    if let Ok(path) = head.path(Slashes::Merged) {
        assert_eq!(path.first(), Some(&b'/'));
    }
    let Ok(framing) = request_framing(head) else { return };
    if head.version().major == 0 {
        return;
    }
    let mut again = Vec::new();
    let mut writer = HeadWriter::new(&mut again);
    if writer.request_line(head.method(), head.target(), head.version()).is_err() {
        panic!("a request line that was read cannot be written");
    }
    for (name, value) in head.fields().iter() {
        if writer.field(name, value).is_err() {
            return; // A control that nginx takes, and that is never sent.
        }
    }
    writer.end();
    let rules = RequestRules {
        underscores: Underscores::Allowed,
        invalid: InvalidFields::Kept,
        header_buffer: 1 << 20,
        ..RequestRules::default()
    };
    let second = read(&again, &rules, usize::MAX).expect("no fault").expect("complete");
    assert_eq!(second.target(), head.target());
    assert!(second.fields().iter().eq(head.fields().iter()));
    let second = request_framing(&second).expect("no fault");
    assert_eq!((second.body, second.host), (framing.body, framing.host));
}
