//! Paths and hosts: no panic, and a normalised path that is escaped comes back as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perdura_proxy::h1::validate_host;
use perdura_proxy::uri::{
    Escape, Slashes, Unescape, argument, escape, normalise, split_args, unescape,
};

fuzz_target!(|text: &[u8]| {
    if let Ok(name) = validate_host(text) {
        assert!(!name.host.is_empty() && !name.host.iter().any(u8::is_ascii_uppercase));
        let again = validate_host(&name.host).map(|again| again.host.into_owned());
        assert!(again.is_ok_and(|again| again == *name.host) || name.host.ends_with(b"."));
    }
    for extent in [Unescape::All, Unescape::Uri, Unescape::Redirect] {
        assert!(unescape(extent, text).len() <= text.len());
    }
    for place in [Escape::Uri, Escape::Args, Escape::Component, Escape::Html, Escape::Refresh] {
        assert!(escape(place, text).iter().all(|&byte| byte > b' ' && byte < 0x7f));
    }
    assert_eq!(*unescape(Unescape::All, &escape(Escape::Component, text)), *text);

    let raw = [b"/", text].concat();
    let (path, args) = split_args(&raw);
    let _ = args.map(|args| argument(args, b"a"));
    if path.contains(&0) {
        return; // No target holds one, and an escaped one is refused.
    }
    let Ok(normal) = normalise(path, Slashes::Merged) else { return };
    assert_eq!(normal.first(), Some(&b'/'));
    assert!(!normal.split(|&byte| byte == b'/').any(|part| matches!(part, b"." | b"..")));
    let escaped = escape(Escape::Uri, &normal);
    assert_eq!(normalise(&escaped, Slashes::Merged).as_deref(), Ok(&*normal));
});
