//! Whether a WebSocket's handshake gets through a location, and what that costs plain requests.

use super::{Around, Lint, Mistake};
use perdura_conf::{Fault, Statement, Word};

/// Parts of a path that name what only speaks WebSocket.
const TELLING: [&str; 10] = [
    "ws",
    "wss",
    "websocket",
    "websockets",
    "socket.io",
    "engine.io",
    "sockjs",
    "sockjs-node",
    "cable",
    "signalr",
];

/// Whether the name of a location says that WebSockets are meant. Only a path is looked at.
pub(super) fn looks_like_websockets(location: &Statement) -> bool {
    let Some(path) = location.args.last().map(Word::text) else {
        return false;
    };
    let is_pattern = location.args.first().is_some_and(|word| word.bytes.starts_with(b"~"));
    !is_pattern && path.to_ascii_lowercase().split('/').any(|part| TELLING.contains(&part))
}

impl<'s> Lint<'s> {
    /// The handshake of a location that passes requests on.
    pub(super) fn handshake(&mut self, around: &Around<'s>) {
        let upgrade = around.fields.value("Upgrade").filter(|(_, value)| !value.bytes.is_empty());
        let connection = around.fields.value("Connection");
        match (upgrade, connection) {
            (Some((line, _)), None) => self.no_connection(line),
            (Some(_), Some((line, value))) => self.connection(line, value),
            (None, Some((line, value))) if self.asks_for_upgrade(value) => self.no_upgrade(line),
            (None, _) => return,
        }
        if let (Some(_), Some(version)) = (upgrade, around.version) {
            self.version(version);
        }
    }

    fn asks_for_upgrade(&self, value: &Word) -> bool {
        is_upgrade(value) || self.maps.of_plain_requests(value).is_some()
    }

    /// nginx and Perdura drop the client's `Connection`; an `Upgrade` alone is no request to switch.
    fn no_connection(&mut self, line: &Statement) {
        let place = line.name.place;
        let message = "\"Upgrade\" is passed on without \"Connection\": no upstream will switch \
                       protocols";
        let fault = Fault::warning(place, message).hint(self.maps.advice());
        self.found.tell(Mistake::NoConnection, place, fault);
    }

    fn no_upgrade(&mut self, line: &Statement) {
        let place = line.name.place;
        let message = "\"Connection\" speaks of an \"Upgrade\" that is not passed on: no upstream \
                       will switch protocols";
        let fault = Fault::warning(place, message)
            .hint("write beside it: proxy_set_header Upgrade $http_upgrade;");
        self.found.tell(Mistake::NoUpgrade, place, fault);
    }

    /// What `Connection` says beside an `Upgrade`.
    fn connection(&mut self, line: &'s Statement, value: &'s Word) {
        let place = line.name.place;
        if is_upgrade(value) {
            let message = "plain requests through here say \"Connection: upgrade\" too: some \
                           upstreams refuse them or keep no connection after them";
            let fault = Fault::notice(place, message).hint(self.maps.advice());
            self.found.tell(Mistake::AlwaysUpgrade, place, fault);
        } else if is_constant(value) {
            let said = match value.bytes.is_empty() {
                true => "\"Connection\" is never sent".to_owned(),
                false => format!("\"Connection\" is always \"{}\"", value.text()),
            };
            let message = format!("{said} beside \"Upgrade\": no upstream will switch protocols");
            let fault = Fault::warning(place, message).hint(self.maps.advice());
            self.found.tell(Mistake::NeverUpgrades, place, fault);
        } else if let Some((entry, plain)) = self.maps.of_plain_requests(value)
            && plain.bytes.eq_ignore_ascii_case(b"close")
        {
            let place = entry.name.place;
            let message = "plain requests say \"Connection: close\" by this map: no connection to \
                           an upstream is kept for the next one";
            let fault = Fault::notice(place, message).hint("write: '' '';");
            self.found.tell(Mistake::ClosesPlain, place, fault);
        }
    }

    /// HTTP/1.0 knows no other protocols.
    fn version(&mut self, version: &Statement) {
        if !version.args.first().is_some_and(|word| word.is("1.0")) {
            return;
        }
        let place = version.name.place;
        let message = "\"Upgrade\" is passed on in HTTP/1.0, in which no upstream will switch \
                       protocols";
        let hint = "write: proxy_http_version 1.1; (or nothing: it is the default)";
        self.found.tell(Mistake::OldVersion, place, Fault::warning(place, message).hint(hint));
    }

    pub(super) fn looks_like(&mut self, location: &Statement) {
        let place = location.name.place;
        let name = location.args.last().map(Word::text).unwrap_or_default();
        let message = format!(
            "location \"{name}\" looks like one of WebSockets, but passes no \"Upgrade\" on: \
             handshakes reach the upstream as plain requests"
        );
        let hint = self.maps.advice().replacen("write: ", "", 1);
        let hint = format!("write: proxy_set_header Upgrade $http_upgrade; {hint}");
        self.found.tell(Mistake::LooksLike, place, Fault::notice(place, message).hint(hint));
    }
}

/// A constant that names the option `upgrade` (RFC 9110, 7.6.1: a list without regard to case).
fn is_upgrade(value: &Word) -> bool {
    let mut options = value.bytes.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    options.any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

fn is_constant(value: &Word) -> bool {
    !value.bytes.contains(&b'$')
}
