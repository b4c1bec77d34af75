//! `map` and `types` blocks.

use super::Builder;
use crate::config::host_table::{Added, HostName, HostTable};
use crate::config::{Map, Types};
use crate::regex::{Case, Regex};
use crate::variables::Binding;
use perdura_conf::{Fault, Statement, Template, VariableId, Word};
use std::sync::Arc;

impl Builder<'_> {
    /// Reads a `map` block; `None` when its head is wrong.
    pub(super) fn map(&mut self, statement: &Statement) -> Option<(VariableId, Arc<Map>)> {
        let [source, target] = statement.args.as_slice() else {
            return None;
        };
        let name = target.bytes.strip_prefix(b"$").filter(|name| !name.is_empty());
        let Some(name) = name else {
            let fault = format!("invalid variable name \"{}\"", target.text());
            self.faults.push(Fault::new(target.place, fault));
            return None;
        };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if is_fixed(&name) {
            let fault = Fault::new(target.place, format!("the duplicate \"{name}\" variable"));
            self.faults.push(fault.hint("this name has its own meaning; choose another one"));
            return None;
        }
        let id = self.names.refer(&name, None);
        let source = match Template::compile(source, &mut self.names) {
            Ok(source) => source,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        let mut map = Map {
            source,
            default: Template::default(),
            keys: HostTable::default(),
            patterns: Vec::new(),
            hostnames: false,
            volatile: false,
        };
        let mut default = None;
        let entries = statement.block.as_deref().unwrap_or_default();
        for entry in entries {
            if let Err(fault) = self.map_entry(&mut map, &mut default, entry) {
                self.faults.push(fault);
            }
        }
        map.default = default.unwrap_or_default();
        Some((id, Arc::new(map)))
    }

    fn map_entry(
        &mut self,
        map: &mut Map,
        default: &mut Option<Template>,
        entry: &Statement,
    ) -> Result<(), Fault> {
        let key = &entry.name;
        if entry.block.is_some() {
            return Err(Fault::new(key.place, "unexpected \"{\""));
        }
        let [value] = entry.args.as_slice() else {
            // As in nginx, `hostnames` concerns the keys that stand behind it.
            if entry.args.is_empty() && key.is("hostnames") {
                map.hostnames = true;
                return Ok(());
            }
            if entry.args.is_empty() && key.is("volatile") {
                map.volatile = true;
                return Ok(());
            }
            return Err(Fault::new(key.place, "invalid number of the map parameters")
                .hint("an entry is a key and its value; quote what has spaces"));
        };
        let value = Template::compile(value, &mut self.names)?;
        if key.is("default") {
            if default.replace(value).is_some() {
                return Err(Fault::new(key.place, "duplicate default map parameter"));
            }
            return Ok(());
        }
        self.map_key(map, key, value)
    }

    fn map_key(&mut self, map: &mut Map, key: &Word, value: Template) -> Result<(), Fault> {
        if let Some(pattern) = key.bytes.strip_prefix(b"~") {
            let (case, pattern) = match pattern.strip_prefix(b"*") {
                Some(pattern) => (Case::Insensitive, pattern),
                None => (Case::Sensitive, pattern),
            };
            let regex = Regex::compile(pattern, key, case, &mut self.names)?;
            map.patterns.push((regex, value));
            return Ok(());
        }
        // A backslash makes a key of what would be a special word.
        let bytes = match key.bytes.as_slice() {
            [b'\\', rest @ ..] => rest,
            bytes => bytes,
        };
        let text = String::from_utf8_lossy(bytes);
        let added = if map.hostnames {
            let name = HostName::read(bytes).ok_or_else(|| {
                Fault::new(key.place, format!("invalid hostname or wildcard \"{text}\""))
            })?;
            map.keys.add(name, value)
        } else {
            map.keys.add_plain(bytes, value)
        };
        match added {
            Added::New => Ok(()),
            Added::Conflicting => {
                let text = text.to_ascii_lowercase();
                Err(Fault::new(key.place, format!("conflicting parameter \"{text}\""))
                    .hint("another entry has this key; case does not count"))
            }
        }
    }

    /// Adds a `types` block to what the block has so far.
    pub(super) fn types(&mut self, statement: &Statement, types: &mut Types) {
        for entry in statement.block.as_deref().unwrap_or_default() {
            if entry.block.is_some() {
                self.faults.push(Fault::new(entry.name.place, "unexpected \"{\""));
            }
            for ending in &entry.args {
                let Some(before) = types.add(&ending.bytes, &entry.name.bytes) else {
                    continue;
                };
                let (text, mime) = (ending.text().to_ascii_lowercase(), entry.name.text());
                let before = String::from_utf8_lossy(&before);
                let message = format!(
                    "duplicate extension \"{text}\", content type: \"{mime}\", \
                     previous content type: \"{before}\""
                );
                let hint = format!("it now means \"{mime}\"");
                self.faults.push(Fault::warning(ending.place, message).hint(hint));
            }
        }
    }
}

/// Whether a variable has a meaning that a `map` or `set` may not replace. Of families such as `http_` nginx
/// lists some members itself; the others may be replaced.
pub(super) fn is_fixed(name: &str) -> bool {
    match Binding::of(name) {
        Some(Binding::Late(_) | Binding::Getter(_)) => !CHANGEABLE.contains(&name),
        Some(Binding::Field(_) | Binding::SentField(_)) => LISTED.contains(&name),
        _ => false,
    }
}

/// Variables of its own that nginx lets a configuration replace.
const CHANGEABLE: [&str; 4] = ["args", "limit_rate", "proxy_host", "proxy_port"];

/// Fields that nginx lists as variables of their own.
const LISTED: [&str; 15] = [
    "http_host",
    "http_user_agent",
    "http_referer",
    "http_via",
    "http_x_forwarded_for",
    "http_cookie",
    "sent_http_content_type",
    "sent_http_content_length",
    "sent_http_location",
    "sent_http_last_modified",
    "sent_http_connection",
    "sent_http_keep_alive",
    "sent_http_transfer_encoding",
    "sent_http_cache_control",
    "sent_http_link",
];
