//! Heads of answers: no panic, and the same answer however the bytes are cut.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use perdura_proxy::h1::{
    Asked, HeadWriter, Progress, ResponseFault, ResponseHead, ResponseParser, response_framing,
};

fuzz_target!(|input: &[u8]| {
    let Some((&step, text)) = input.split_first() else { return };
    let whole = read(text, usize::MAX);
    let cut = read(text, usize::from(step).max(1));
    match (whole, cut) {
        (Err(whole), Err(cut)) => assert_eq!(whole, cut),
        (Ok(None), Ok(None)) => {}
        (Ok(Some(whole)), Ok(Some(cut))) => {
            assert_eq!((whole.status(), whole.reason()), (cut.status(), cut.reason()));
            assert!(whole.fields().iter().eq(cut.fields().iter()));
            look_at(&whole);
        }
        (whole, cut) => panic!("{whole:?} and, cut into pieces of {step}, {cut:?}"),
    }
});

fn read(text: &[u8], step: usize) -> Result<Option<ResponseHead>, ResponseFault> {
    let mut parser = ResponseParser::new();
    let mut end = 0;
    loop {
        match parser.parse(&text[..end], 4096)? {
            Progress::Complete { length } => {
                return Ok(Some(parser.finish(Bytes::copy_from_slice(&text[..length]))));
            }
            _ if end == text.len() => return Ok(None),
            _ => end = end.saturating_add(step).min(text.len()),
        }
    }
}

fn look_at(head: &ResponseHead) {
    assert!((100..=999).contains(&head.status()));
    let _ = response_framing(head, Asked::Head).map_err(|fault| fault.reason());
    let Ok(framing) = response_framing(head, Asked::Other) else { return };
    let mut again = Vec::new();
    let mut writer = HeadWriter::new(&mut again);
    if writer.status_line_with(head.status(), head.reason()).is_err() {
        return; // A control that nginx takes, and that is never sent.
    }
    for (name, value) in head.fields().iter() {
        if writer.field(name, value).is_err() {
            return;
        }
    }
    writer.end();
    let Ok(Some(second)) = read(&again, usize::MAX) else {
        assert!(again.len() > 4096, "what was written cannot be read");
        return;
    };
    let second = response_framing(&second, Asked::Other).expect("no fault");
    assert_eq!(second.body, framing.body);
}
