//! The name in a certificate (RFC 5280, 4.1.2.4) as text: RFC 2253, and the form of old.
//!
//! Both are those of OpenSSL's `X509_NAME_print_ex` and `X509_NAME_oneline`, which nginx shows.

use super::der::{self, Cursor, Element};
use std::fmt::Write as _;

/// RFC 2253 with the last part first, as `$ssl_client_s_dn` has it. UTF-8 stays what it is only
/// where it is ASCII; other bytes are escaped, as nginx asks for.
pub fn rfc2253(name: &[u8]) -> Option<String> {
    let sets = sets(name)?;
    let mut out = String::new();
    for (index, set) in sets.iter().rev().enumerate() {
        if index > 0 {
            out.push(',');
        }
        for (part, attribute) in set.iter().enumerate() {
            if part > 0 {
                out.push('+');
            }
            attribute.rfc2253(&mut out);
        }
    }
    Some(out)
}

/// `/C=XX/CN=name`, as `$ssl_client_s_dn_legacy` has it.
pub fn legacy(name: &[u8]) -> Option<String> {
    let mut out = String::new();
    for attribute in sets(name)?.iter().flatten() {
        let _ = write!(out, "/{}=", attribute.short_name());
        for &byte in attribute.value.content {
            match byte {
                0x20..=0x7e => out.push(byte as char),
                _ => {
                    let _ = write!(out, "\\x{byte:02X}");
                }
            }
        }
    }
    Some(out)
}

/// One type with its value.
struct Attribute<'n> {
    object: &'n [u8],
    value: Element<'n>,
}

/// Parts of a name at most, so that a hostile one costs little.
const PARTS_MAX: usize = 256;

fn sets(name: &[u8]) -> Option<Vec<Vec<Attribute<'_>>>> {
    let mut cursor = Cursor::new(name);
    let mut sets = Vec::new();
    let mut parts = 0;
    while !cursor.is_empty() {
        let mut set = cursor.enter(der::SET)?;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let mut pair = set.enter(der::SEQUENCE)?;
            let object = pair.take(der::OBJECT)?;
            attributes.push(Attribute { object, value: pair.any()? });
            parts += 1;
            if parts > PARTS_MAX {
                return None;
            }
        }
        sets.push(attributes);
    }
    Some(sets)
}

impl Attribute<'_> {
    fn short_name(&self) -> String {
        let known = SHORT_NAMES.iter().find(|(object, _)| *object == self.object);
        known.map_or_else(|| dotted(self.object), |(_, name)| (*name).to_owned())
    }

    fn rfc2253(&self, out: &mut String) {
        let _ = write!(out, "{}=", self.short_name());
        if !SHORT_NAMES.iter().any(|(object, _)| *object == self.object) {
            // The value of an unknown type is shown as it is encoded (RFC 2253, 2.4).
            out.push('#');
            for byte in self.value.whole {
                let _ = write!(out, "{byte:02X}");
            }
            return;
        }
        let value = self.text();
        let last = value.chars().count().saturating_sub(1);
        for (at, one) in value.chars().enumerate() {
            let is_edge = (at == 0 && matches!(one, ' ' | '#')) || (at == last && one == ' ');
            match one {
                ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                    out.push('\\');
                    out.push(one);
                }
                _ if is_edge => {
                    out.push('\\');
                    out.push(one);
                }
                ' '..='~' => out.push(one),
                _ => {
                    let mut bytes = [0; 4];
                    for byte in one.encode_utf8(&mut bytes).bytes() {
                        let _ = write!(out, "\\{byte:02X}");
                    }
                }
            }
        }
    }

    fn text(&self) -> String {
        let content = self.value.content;
        match self.value.tag {
            der::BMP_STRING => {
                let units = content.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
                char::decode_utf16(units).map(|one| one.unwrap_or('\u{fffd}')).collect()
            }
            der::UNIVERSAL_STRING => content
                .chunks_exact(4)
                .map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
                .map(|one| char::from_u32(one).unwrap_or('\u{fffd}'))
                .collect(),
            der::UTF8_STRING => String::from_utf8_lossy(content).into_owned(),
            // The others are Latin-1 for OpenSSL.
            _ => content.iter().map(|&byte| byte as char).collect(),
        }
    }
}

fn dotted(object: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    for byte in object {
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let Some((&first, rest)) = numbers.split_first() else {
        return String::new();
    };
    let top = (first / 40).min(2);
    let mut text = format!("{top}.{}", first - 40 * top);
    for number in rest {
        let _ = write!(text, ".{number}");
    }
    text
}

/// Types that OpenSSL has a short name for.
const SHORT_NAMES: &[(&[u8], &str)] = &[
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x04], "SN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "street"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x55, 0x04, 0x0c], "title"),
    (&[0x55, 0x04, 0x0d], "description"),
    (&[0x55, 0x04, 0x0f], "businessCategory"),
    (&[0x55, 0x04, 0x11], "postalCode"),
    (&[0x55, 0x04, 0x29], "name"),
    (&[0x55, 0x04, 0x2a], "GN"),
    (&[0x55, 0x04, 0x2b], "initials"),
    (&[0x55, 0x04, 0x2c], "generationQualifier"),
    (&[0x55, 0x04, 0x2e], "dnQualifier"),
    (&[0x55, 0x04, 0x41], "pseudonym"),
    (&[0x55, 0x04, 0x61], "organizationIdentifier"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of one attribute in each set.
    fn name(parts: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let element = |tag: u8, content: &[u8]| {
            [&[tag, u8::try_from(content.len()).unwrap()][..], content].concat()
        };
        let part = |(object, tag, value): &(&[u8], u8, &[u8])| {
            let pair = [element(der::OBJECT, object), element(*tag, value)].concat();
            element(der::SET, &element(der::SEQUENCE, &pair))
        };
        parts.iter().flat_map(part).collect()
    }

    #[test]
    fn names_are_shown_in_both_forms() {
        let name = name(&[
            (&[0x55, 0x04, 0x06], 0x13, b"XX"),
            (&[0x55, 0x04, 0x0a], 0x0c, "Ä, Inc. ".as_bytes()),
            (&[0x55, 0x04, 0x03], der::BMP_STRING, &[0, b'#', 0, b'a']),
        ]);
        assert_eq!(rfc2253(&name).unwrap(), "CN=\\#a,O=\\C3\\84\\, Inc.\\ ,C=XX");
        assert_eq!(legacy(&name).unwrap(), "/C=XX/O=\\xC3\\x84, Inc. /CN=\\x00#\\x00a");
    }

    #[test]
    fn unknown_types_are_numbers() {
        let name = name(&[(&[0x2a, 0x86, 0x48, 0x01], 0x0c, b"a")]);
        assert_eq!(rfc2253(&name).unwrap(), "1.2.840.1=#0C0161");
    }

    #[test]
    fn a_broken_name_is_none() {
        assert_eq!(rfc2253(&[0x31, 0x05]), None);
        assert_eq!(rfc2253(&[]), Some(String::new()));
        let many = name(&[(&[0x55, 0x04, 0x03], 0x0c, b"a")]).repeat(PARTS_MAX + 1);
        assert_eq!(rfc2253(&many), None);
    }
}
