//! `Set-Cookie` fields of answers, rewritten: `proxy_cookie_domain`, `proxy_cookie_path`,
//! `proxy_cookie_flags`.
//!
//! A field is cut at its semicolons; one that no rule concerns passes byte for byte, any other is put
//! together anew, as nginx does.

use crate::modules::proxy_cookie::{Flag, FlagRule, Rewrite, Settings};
use crate::request::Request;

/// One attribute: its name, and what stands behind the equals sign.
struct Attribute {
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// The field as the client gets it; `None` when it passes as it is.
pub fn rewritten(request: &Request, settings: &Settings, field: &[u8]) -> Option<Vec<u8>> {
    let domains = settings.proxy_cookie_domain.rules();
    let paths = settings.proxy_cookie_path.rules();
    let flags = settings.proxy_cookie_flags.rules();
    if domains.is_empty() && paths.is_empty() && flags.is_empty() {
        return None;
    }
    let mut attributes: Vec<Attribute> = attributes(field).collect();
    let mut changed = false;
    for (name, rules, kind) in [("domain", domains, Kind::Domain), ("path", paths, Kind::Path)] {
        changed |= rewrite_value(request, &mut attributes, name, (rules, kind));
    }
    changed |= apply_flags(request, &mut attributes, flags);
    changed.then(|| joined(&attributes))
}

/// How values of an attribute are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As a whole, without regard to case and to a dot in front.
    Domain,
    /// By their beginning.
    Path,
}

fn attributes(field: &[u8]) -> impl Iterator<Item = Attribute> {
    field.split(|&byte| byte == b';').enumerate().map(|(at, part)| {
        let blanks = part.iter().take_while(|&&byte| byte == b' ').count();
        let part = if at == 0 { part } else { &part[blanks..] };
        match part.iter().position(|&byte| byte == b'=') {
            Some(at) => {
                Attribute { name: part[..at].to_vec(), value: Some(part[at + 1..].to_vec()) }
            }
            None => Attribute { name: part.to_vec(), value: None },
        }
    })
}

fn joined(attributes: &[Attribute]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, attribute) in attributes.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(&attribute.name);
        if let Some(value) = &attribute.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}

fn rewrite_value(
    request: &Request,
    attributes: &mut [Attribute],
    name: &str,
    (rules, kind): (&[Rewrite], Kind),
) -> bool {
    let mut changed = false;
    for attribute in attributes.iter_mut().skip(1) {
        let named = attribute.name.eq_ignore_ascii_case(name.as_bytes());
        let Some(value) = attribute.value.as_mut().filter(|_| named) else { continue };
        if let Some(new) = rules.iter().find_map(|rule| replaced(request, rule, value, kind)) {
            *value = new;
            changed = true;
        }
    }
    changed
}

fn replaced(request: &Request, rule: &Rewrite, value: &[u8], kind: Kind) -> Option<Vec<u8>> {
    match rule {
        Rewrite::Pattern { regex, replacement } => {
            let captures = regex.captures(value).ok()??;
            request.take_captures(regex, captures);
            Some(request.value(replacement))
        }
        Rewrite::Text { text, replacement } => {
            let text = request.value(text);
            match kind {
                Kind::Domain => {
                    let domain = without_dot(value);
                    if !without_dot(&text).eq_ignore_ascii_case(domain) {
                        return None;
                    }
                    // A dot in front stays.
                    let dot = &value[..value.len() - domain.len()];
                    Some([dot, without_dot(&request.value(replacement))].concat())
                }
                Kind::Path => {
                    let rest = value.strip_prefix(text.as_slice())?;
                    Some([&request.value(replacement), rest].concat())
                }
            }
        }
    }
}

fn without_dot(domain: &[u8]) -> &[u8] {
    domain.strip_prefix(b".").unwrap_or(domain)
}

fn apply_flags(request: &Request, attributes: &mut Vec<Attribute>, rules: &[FlagRule]) -> bool {
    // What has no equals sign is no cookie.
    let Some(cookie) = attributes.first().filter(|one| one.value.is_some()) else {
        return false;
    };
    let Some(rule) = rules.iter().find(|rule| rule.cookie.fits(request, &cookie.name)) else {
        return false;
    };
    let mut wanted: Vec<Flag> = Vec::new();
    for template in &rule.flags {
        let text = request.value(template);
        if let Some(flag) = Flag::read(&text) {
            wanted.retain(|other| !other.is_of_kind(flag));
            wanted.push(flag);
        }
    }
    for flag in wanted {
        let (name, value) = flag.attribute();
        let found = attributes
            .iter()
            .skip(1)
            .position(|attribute| attribute.name.eq_ignore_ascii_case(name.as_bytes()));
        match (found, flag.is_on()) {
            (Some(at), false) => drop(attributes.remove(at + 1)),
            (Some(at), true) => {
                let same = match (&attributes[at + 1].value, value) {
                    (Some(own), Some(value)) => own.eq_ignore_ascii_case(value.as_bytes()),
                    (_, value) => value.is_none(),
                };
                if !same {
                    attributes[at + 1].value = value.map(|value| value.as_bytes().to_vec());
                }
            }
            (None, true) => attributes.push(Attribute {
                name: name.as_bytes().to_vec(),
                value: value.map(|value| value.as_bytes().to_vec()),
            }),
            (None, false) => {}
        }
    }
    true
}
