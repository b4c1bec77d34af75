//! PEM: the labelled base64 of certificates, keys and revocation lists.
//!
//! Text between sections is passed over, as OpenSSL does. It does not look into what it unpacks.

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The words behind `BEGIN`.
    pub label: String,
    /// The lines of its header (RFC 1421), which encrypted keys of the old form have.
    pub header: Vec<(String, String)>,
    pub bytes: Vec<u8>,
}

/// Why text is not PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemFault {
    /// A section has no end, or ends with another label.
    BadEnd,
    /// What stands in a section is not base64.
    BadBase64,
}

impl PemFault {
    /// As OpenSSL says it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadEnd => "PEM routines::bad end line",
            Self::BadBase64 => "PEM routines::bad base64 decode",
        }
    }
}

/// All sections, in their order.
pub fn sections(text: &[u8]) -> Result<Vec<Section>, PemFault> {
    let mut sections = Vec::new();
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    while let Some(line) = lines.next() {
        let Some(label) = boundary(line, b"-----BEGIN ") else {
            continue;
        };
        let mut section = Section { label, header: Vec::new(), bytes: Vec::new() };
        let mut base64 = Vec::new();
        loop {
            let line = lines.next().ok_or(PemFault::BadEnd)?;
            if line.starts_with(b"-----") {
                if boundary(line, b"-----END ").as_ref() != Some(&section.label) {
                    return Err(PemFault::BadEnd);
                }
                break;
            }
            let text = String::from_utf8_lossy(line);
            match text.split_once(':') {
                Some((name, value)) => {
                    section.header.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                None => base64.extend_from_slice(line.trim_ascii()),
            }
        }
        section.bytes = crate::digest::from_base64(&base64).ok_or(PemFault::BadBase64)?;
        sections.push(section);
    }
    Ok(sections)
}

fn boundary(line: &[u8], start: &[u8]) -> Option<String> {
    let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    Some(String::from_utf8_lossy(label).into_owned())
}

/// A section as text, in lines of 64 characters.
pub fn section(label: &str, bytes: &[u8]) -> String {
    let base64 = crate::digest::base64(bytes);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(LINE) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_come_out_as_they_went_in() {
        let one = section("CERTIFICATE", &[7; 100]);
        let text = format!("words before\n{one}words between\r\n{}", section("X", b"y"));
        let found = sections(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].label.as_str(), found[0].bytes.len()), ("CERTIFICATE", 100));
        assert_eq!(found[1].bytes, b"y");
    }

    #[test]
    fn a_header_is_read() {
        let text =
            "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: A,B\n\neQ==\n-----END K-----";
        let found = sections(text.as_bytes()).unwrap();
        assert_eq!(found[0].header[1], ("DEK-Info".to_owned(), "A,B".to_owned()));
        assert_eq!(found[0].bytes, b"y");
    }

    #[test]
    fn broken_sections_are_refused() {
        assert_eq!(sections(b"-----BEGIN K-----\neQ=="), Err(PemFault::BadEnd));
        assert_eq!(sections(b"-----BEGIN K-----\neQ==\n-----END L-----"), Err(PemFault::BadEnd));
        assert_eq!(sections(b"-----BEGIN K-----\n?\n-----END K-----"), Err(PemFault::BadBase64));
        assert_eq!(sections(b"nothing at all"), Ok(Vec::new()));
    }
}
