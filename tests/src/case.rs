//! A case file: a configuration, the scripts of its upstreams, and what clients do. Each
//! client is one case; all clients of a file meet the same two programs.
//!
//! ```text
//! # What the file shows.
//! -- http                 added to the http block
//! -- server               the content of a server block
//! -- main                 added to the outermost context
//! -- file html/a.txt      a file below the folder, with a fixed modification time
//! -- upstream [NAME]      a script; @upstream@ or @NAME@ is its address
//! -- upstream NAME tls=C a script over TLS with this certificate; `C-unasked` asks for none
//! -- certificates         copies of tests/conf/files lie in the folder
//! -- names               what a name server at @names@ knows, see `NameServer::knowing`
//! -- dead NAME            @NAME@ is an address that refuses connections
//! -- log FORMAT           the access log's format
//! -- gets [OPTIONS]       one case for each line: [METHOD] TARGET [| FIELD]... [~~ ROW]
//! -- client NAME [OPTIONS] a case in steps, see `script`
//! -- perdura NAME         the outcome that is expected of perdura in a case that differs
//! ```
//!
//! Beside `@listen@` the server may listen on `[::1]:@port@` and on `unix:@socket@`; the options
//! `over=ipv6` and `over=unix` make a client come there.
//!
//! Options: `differs=ROW` (in a line of `gets`: `~~ ROW`) names a row of
//! `docs/differences.md`; `errors` compares the error log too, `infos` also what it says of clients at
//! the level of info; `no-upstream`, `no-log` leave a part out. In a line of `gets`, `tls` and the
//! words that may stand behind a step of that name make the request one over TLS.

use std::path::Path;

use crate::program::root;
use crate::script::{Step, steps};
use crate::secure::Greeting;

#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    pub main: String,
    pub http: String,
    pub server: Option<String>,
    pub files: Vec<(String, Vec<u8>)>,
    pub certificates: bool,
    pub upstreams: Vec<UpstreamOf>,
    pub dead: Vec<String>,
    pub names: Option<String>,
    pub log_format: Option<String>,
    pub clients: Vec<Client>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub name: String,
    pub steps: Vec<Step>,
    pub differs: Option<String>,
    /// The outcome expected of perdura when it differs.
    pub expected: Option<String>,
    pub errors: Errors,
    pub upstream: bool,
    pub log: bool,
    pub over: Over,
}

/// Which of the server's addresses a client connects to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    #[default]
    Ipv4,
    Ipv6,
    Unix,
}

/// An upstream of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamOf {
    pub name: String,
    /// The certificate of one that speaks TLS.
    pub certificate: Option<String>,
    pub script: String,
}

/// How much of the error log is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errors {
    #[default]
    Nothing,
    /// From warn on.
    Faults,
    /// And what is said of clients at the level of info.
    Infos,
}

/// One `-- ` section as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub kind: String,
    pub argument: String,
    pub text: String,
}

impl Section {
    /// Cuts a file into its sections; text before the first is a comment.
    pub fn all(text: &str) -> Vec<Self> {
        let mut sections: Vec<Self> = Vec::new();
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("-- ") {
                let (kind, argument) = head.split_once(' ').unwrap_or((head, ""));
                let argument = argument.trim().to_owned();
                sections.push(Self { kind: kind.to_owned(), argument, text: String::new() });
            } else if let Some(section) = sections.last_mut() {
                section.text.push_str(line);
                section.text.push('\n');
            }
        }
        sections
    }
}

impl Case {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text)
    }

    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut case = Self { name: name.to_owned(), ..Self::default() };
        for section in Section::all(text) {
            case.add(section)?;
        }
        let mut names: Vec<_> = case.clients.iter().map(|client| &client.name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two cases are named {:?}", twice[0]));
        }
        Ok(case)
    }

    fn add(&mut self, section: Section) -> Result<(), String> {
        let Section { kind, argument, text } = section;
        match kind.as_str() {
            "main" => self.main.push_str(&text),
            "http" => self.http.push_str(&text),
            "server" => self.server = Some(text),
            "file" => self.files.push((argument, text.into_bytes())),
            "upstream" => self.upstreams.push(UpstreamOf::read(&argument, text)),
            "certificates" => self.certificates = true,
            "dead" => self.dead.push(argument),
            "names" => self.names = Some(text),
            "log" => self.log_format = Some(argument),
            "gets" => self.add_gets(&argument, &text)?,
            "client" => {
                let mut client = Client::options(&argument)?;
                client.steps = steps(&text)?;
                self.clients.push(client);
            }
            "perdura" => {
                let client = self.clients.iter_mut().find(|client| client.name == argument);
                client.ok_or(format!("no case {argument:?}"))?.expected = Some(text);
            }
            other => return Err(format!("no such section: {other:?}")),
        }
        Ok(())
    }

    fn add_gets(&mut self, options: &str, text: &str) -> Result<(), String> {
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut client = Client::options(&format!("x {options}"))?;
            let (line, row) =
                line.split_once(" ~~ ").map_or((line, None), |(line, row)| (line, Some(row)));
            let (greeting, words) = greeting(options)?;
            client.name = format!("{line}{words}");
            client.steps = get(line, greeting.as_ref().and_then(|one| one.name.as_deref()));
            if let Some(greeting) = greeting {
                client.steps.insert(0, Step::Tls(greeting));
            }
            client.differs = row.map(str::to_owned).or(client.differs);
            self.clients.push(client);
        }
        Ok(())
    }

    /// The folder of the case files.
    pub fn folder() -> std::path::PathBuf {
        root().join("tests/parity")
    }
}

impl UpstreamOf {
    /// Reads `[NAME] [tls=CERTIFICATE]`.
    fn read(argument: &str, script: String) -> Self {
        let mut one = Self { name: "upstream".to_owned(), certificate: None, script };
        for word in argument.split_whitespace() {
            match word.strip_prefix("tls=") {
                Some(certificate) => one.certificate = Some(certificate.to_owned()),
                None => one.name = word.to_owned(),
            }
        }
        one
    }
}

impl Client {
    pub fn new(name: &str, steps: Vec<Step>) -> Self {
        let name = name.to_owned();
        Self {
            name,
            steps,
            differs: None,
            expected: None,
            errors: Errors::default(),
            upstream: true,
            log: true,
            over: Over::default(),
        }
    }

    /// Reads `NAME WITH SPACES [OPTION]...`.
    fn options(argument: &str) -> Result<Self, String> {
        let mut client = Self::new("", Vec::new());
        let mut name = Vec::new();
        for word in argument.split_whitespace() {
            match word.split_once('=') {
                Some(("differs", row)) => client.differs = Some(row.to_owned()),
                Some(("over", "ipv6")) => client.over = Over::Ipv6,
                Some(("over", "unix")) => client.over = Over::Unix,
                None if word == "errors" => client.errors = Errors::Faults,
                None if word == "infos" => client.errors = Errors::Infos,
                None if word == "no-upstream" => client.upstream = false,
                None if word == "no-log" => client.log = false,
                _ => name.push(word),
            }
        }
        client.name = name.join(" ");
        if client.name.is_empty() {
            return Err(format!("a client without a name: {argument:?}"));
        }
        Ok(client)
    }
}

/// The greeting among the options of `-- gets`, and its words for a name.
fn greeting(options: &str) -> Result<(Option<Greeting>, String), String> {
    let mut words = options.split_whitespace().skip_while(|word| *word != "tls").peekable();
    if words.next().is_none() {
        return Ok((None, String::new()));
    }
    let is_of_tls = |word: &&str| {
        let keys = ["name=", "certificate=", "version=", "alpn="];
        keys.iter().any(|key| word.starts_with(key))
    };
    let words: Vec<_> = words.filter(is_of_tls).collect();
    let greeting = Greeting::parse(words.iter().copied())?;
    Ok((Some(greeting), format!(" [{}]", [&["tls"], &words[..]].concat().join(" "))))
}

/// The steps of one line of `-- gets`, to `host` if the line names none.
fn get(line: &str, host: Option<&str>) -> Vec<Step> {
    let mut parts = line.split(" | ");
    let first = parts.next().unwrap_or_default();
    let (method, target) = match first.split_once(' ') {
        Some((method, target)) => (method, target),
        None => ("GET", first),
    };
    let fields: Vec<_> = parts.collect();
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(|field| field.to_lowercase().starts_with("host:")) {
        head.push_str(&format!("Host: {}\r\n", host.unwrap_or("a")));
    }
    head.push_str("Connection: close\r\n");
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let read = if method == "HEAD" { Step::HeadResponse } else { Step::Response };
    vec![Step::Send(crate::script::unescape(&head)), read]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_sections() {
        let text = "# x\n-- server\nreturn 204;\n-- gets errors\n/a\nHEAD /b | X: y\n\
                    -- client one differs=row\n> GET / HTTP/1.1\nresponse\n-- perdura one\nfoo\n";
        let case = Case::parse("n", text).expect("a case");
        assert_eq!(case.server.as_deref(), Some("return 204;\n"));
        assert_eq!(case.clients.len(), 3);
        assert_eq!(case.clients[0].errors, Errors::Faults);
        assert_eq!(case.clients[1].steps[1], Step::HeadResponse);
        assert_eq!(case.clients[2].differs.as_deref(), Some("row"));
        assert_eq!(case.clients[2].expected.as_deref(), Some("foo\n"));
    }

    #[test]
    fn faults_of_a_file_are_told() {
        assert!(Case::parse("n", "-- sever\n").is_err());
        assert!(Case::parse("n", "-- gets\n/a\n/a\n").is_err());
        assert!(Case::parse("n", "-- perdura a\n").is_err());
    }
}
