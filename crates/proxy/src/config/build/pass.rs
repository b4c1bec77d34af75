//! `proxy_pass` and the settings around it, compiled for one location.

use super::Builder;
use super::http::Shared;
use crate::config::Match;
use crate::known_keys::KnownSet;
use crate::modules::proxy::{HttpVersion, Pass as Written, Redirect, Settings};
use crate::modules::proxy_ssl;
use crate::upstream::{Authority, Host, Pass, Redirects, Rule, Scheme, Target, UriPart, Url};
use perdura_conf::{Fault, Names, Template, Word};
use std::collections::HashSet;
use std::sync::Arc;

/// Fields of the client that nginx never passes on by itself (RFC 9110, 7.6.1), and those that it
/// makes anew.
const DROPPED: [&str; 10] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "keep-alive",
    "expect",
    "upgrade",
    "proxy-connection",
    "http2-settings",
];

/// Response fields that do not reach the client.
const HIDDEN: [&str; 9] = [
    "date",
    "server",
    "x-pad",
    "x-accel-expires",
    "x-accel-redirect",
    "x-accel-limit-rate",
    "x-accel-buffering",
    "x-accel-charset",
    "keep-alive",
];

impl Builder<'_> {
    pub(super) fn pass(
        &mut self,
        written: &Written,
        (settings, tls): (&Settings, &proxy_ssl::Settings),
        name: &[u8],
        kind: &Match,
        shared: &mut Shared,
    ) -> Option<Arc<Pass>> {
        let target = self.target(written, kind, shared)?;
        let plain = matches!(target, Target::Fixed { scheme: Scheme::Http, .. });
        let tls = if plain { None } else { Some(self.dialling(tls).ok()?) };
        let redirects = self.redirects(settings, written, &target, name, kind);
        let (fields, dropped) = self.fields(settings);
        Some(Arc::new(Pass { target, tls, fields, dropped, redirects, hidden: hidden(settings) }))
    }

    fn target(&mut self, written: &Written, kind: &Match, shared: &mut Shared) -> Option<Target> {
        let word = &written.word;
        let Some(text) = written.template.constant() else {
            return Some(Target::Computed(written.template.clone()));
        };
        let fault = |what: &str| {
            Some(Fault::new(word.place, format!("{what} in upstream \"{}\"", shown(text))))
        };
        let (scheme, rest) = Scheme::split(text)?;
        let parsed = Url::parse(rest);
        let url = match parsed {
            Ok(url) => url,
            Err(what) => {
                self.faults.extend(fault(what));
                return None;
            }
        };
        let has_uri = !url.uri.is_empty();
        if has_uri && matches!(kind, Match::Pattern(_) | Match::Named) {
            self.faults.push(Fault::new(
                word.place,
                "\"proxy_pass\" cannot have URI part in location given by regular expression, or \
                 inside named location, or inside \"if\" statement, or inside \"limit_except\" block",
            ));
            return None;
        }
        let uri = match url.uri.first() {
            None => UriPart::Absent,
            Some(b'/') => UriPart::Instead(url.uri),
            Some(_) => UriPart::Instead([b"/", url.uri.as_slice()].concat()),
        };
        let mut authority = url.authority;
        let group = match explicit(&authority, shared) {
            Some(group) if authority.port.is_some() => {
                let name = &group.name;
                let port = authority.port.unwrap_or(scheme.port());
                let message = format!("upstream \"{name}\" may not have port {port}");
                self.faults.push(Fault::new(word.place, message));
                return None;
            }
            Some(group) => group,
            None => {
                authority.port.get_or_insert(scheme.port());
                self.implicit_group(&authority, word, &mut shared.groups)?
            }
        };
        let port = authority.port.unwrap_or(scheme.port()).to_string().into_bytes();
        Some(Target::Fixed { scheme, group, host: authority.text.into(), port: port.into(), uri })
    }

    /// The fields of the request that is sent: those of the configuration first, then nginx's own.
    fn fields(&mut self, settings: &Settings) -> (Vec<Field>, KnownSet<Vec<u8>>) {
        let mut fields = Vec::new();
        let mut dropped: KnownSet<Vec<u8>> =
            DROPPED.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut set = HashSet::new();
        for field in &settings.proxy_set_header.0 {
            let lower = field.name.to_ascii_lowercase();
            dropped.insert(lower.clone());
            // Framing is made from the body that is sent, whatever the configuration says (T11).
            if lower != b"content-length" && lower != b"transfer-encoding" {
                fields.push((field.name.clone(), field.value.clone()));
            }
            set.insert(lower);
        }
        let mut default = |name: &str, value: &str| {
            if !set.contains(name.to_ascii_lowercase().as_bytes()) {
                fields.push((name.as_bytes().to_vec(), text(value, &mut self.names)));
            }
        };
        default("Host", "$proxy_host");
        (fields, dropped)
    }

    fn redirects(
        &mut self,
        settings: &Settings,
        written: &Written,
        target: &Target,
        name: &[u8],
        kind: &Match,
    ) -> Redirects {
        let mut rules = Vec::new();
        for redirect in &settings.proxy_redirect.0 {
            match redirect {
                Redirect::Off => return Redirects::Off,
                Redirect::Default => rules.extend(default_rule(written, target, name, kind)),
                Redirect::Prefix { redirect, replacement } => rules.push(Rule::Prefix {
                    redirect: redirect.clone(),
                    replacement: replacement.clone(),
                }),
                Redirect::Pattern { regex, replacement } => rules
                    .push(Rule::Pattern { regex: regex.clone(), replacement: replacement.clone() }),
            }
        }
        if rules.is_empty() { Redirects::Off } else { Redirects::Rules(rules) }
    }
}

/// A field that is set: its name and its value.
type Field = (Vec<u8>, Template);

/// The group that an authority names, if it is the name of an `upstream` block.
pub(super) fn explicit(
    authority: &Authority,
    shared: &Shared,
) -> Option<Arc<crate::upstream::Group>> {
    let Host::Name(name) = &authority.host else {
        // A group may be called like an address.
        let host = authority.text.to_ascii_lowercase();
        return shared.groups.get(host.as_bytes()).filter(|group| group.explicit).cloned();
    };
    shared.groups.get(name.as_bytes()).filter(|group| group.explicit).cloned()
}

/// `proxy_redirect default`: the URL of `proxy_pass` becomes the location's name again.
fn default_rule(written: &Written, target: &Target, name: &[u8], kind: &Match) -> Option<Rule> {
    let Target::Fixed { uri, .. } = target else {
        return None;
    };
    let url = written.template.constant()?;
    let (redirect, replacement) = match uri {
        UriPart::Absent => ([url, b"/"].concat(), b"/".to_vec()),
        UriPart::Instead(_) if matches!(kind, Match::Pattern(_) | Match::Named) => return None,
        UriPart::Instead(_) => (url.to_vec(), name.to_vec()),
    };
    Some(Rule::Prefix {
        redirect: Template::plain(&redirect),
        replacement: Template::plain(&replacement),
    })
}

fn hidden(settings: &Settings) -> KnownSet<Vec<u8>> {
    let mut hidden: KnownSet<Vec<u8>> =
        HIDDEN.iter().map(|name| name.as_bytes().to_vec()).collect();
    hidden.extend(settings.proxy_hide_header.0.iter().map(|name| name.0.to_ascii_lowercase()));
    for name in &settings.proxy_pass_header.0 {
        hidden.remove(&name.0.to_ascii_lowercase());
    }
    hidden
}

fn text(value: &str, names: &mut Names) -> Template {
    let word = Word { bytes: value.as_bytes().to_vec(), place: super::nowhere().place };
    Template::compile(&word, names).unwrap_or_default()
}

/// The URL without its scheme, as nginx shows it.
fn shown(url: &[u8]) -> String {
    let rest = Scheme::split(url).map_or(url, |(_, rest)| rest);
    String::from_utf8_lossy(rest).into_owned()
}

impl HttpVersion {
    pub fn is_http11(self) -> bool {
        self == Self::Http11
    }
}
