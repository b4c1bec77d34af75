//! `-t` and `-T`: is the configuration one that could be served, and what does it consist of?
//!
//! As in nginx, a test also opens what a start would open: the pid file, the logs, the sockets. An
//! address in use is no fault, because it is most likely our own server that uses it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use perdura_conf::{Sources, errno_text};
use perdura_proxy::{Config, Disk, Severity, build};
use rustix::io::Errno;

use crate::cli::Command;
use crate::master::{Logs, limit_warning, shared_limit_warning};
use crate::paths;
use crate::report::{self, Report};

/// Tests, prints the verdict, and gives the exit code.
pub fn run(command: &Command, dump: bool, report: &mut Report) -> u8 {
    let options = paths::options(command);
    let file = options.conf.display().to_string();
    let say = |text: &str| {
        if !command.quiet {
            report::line(text);
        }
    };
    let built = build(&Disk::new(), &options);
    report.faults(&built.faults, &built.sources);
    if let Some(config) = &built.config {
        say(&format!("the configuration file {file} syntax is ok"));
        if let Err(fault) = could_serve(config) {
            report.say(Severity::Emerg, &fault);
        } else {
            if let Some(text) = limit_warning(config.process()) {
                report.say(Severity::Warn, &text);
            } else {
                let fault = shared_limit_warning(config.process(), built.worker_connections);
                report.faults(fault.as_slice(), &built.sources);
            }
            say(&format!("configuration file {file} test is successful"));
            if dump && print(&built.sources, &mut io::stdout().lock()).is_err() {
                return 1;
            }
            return 0;
        }
    }
    report::line(&format!("configuration file {file} test failed"));
    1
}

/// nginx's order: pid file, logs, sockets.
fn could_serve(config: &Config) -> Result<(), String> {
    let pid = &config.process().pid;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(pid)
        .map_err(|error| format!("open() \"{}\" failed {}", pid.display(), errno_text(&error)))?;
    Logs::open(config.log_files()).map_err(|fault| fault.to_string())?;
    for listen in config.listens() {
        match listen.bind() {
            Ok(_) => listen_left_nothing(listen),
            Err(fault) if fault.error.raw_os_error() == Some(Errno::ADDRINUSE.raw_os_error()) => {}
            Err(fault) => return Err(fault.to_string()),
        }
    }
    Ok(())
}

/// A test must not leave the file of a unix socket behind, or the start would find it in use.
fn listen_left_nothing(listen: &perdura_proxy::Listen) {
    if let perdura_proxy::Address::Unix(path) = &listen.address {
        let _ = std::fs::remove_file(path);
    }
}

/// Every file once, in reading order, byte for byte as nginx prints it.
fn print(sources: &Sources, out: &mut impl Write) -> io::Result<()> {
    for source in sources.distinct_files() {
        out.write_all(b"# configuration file ")?;
        out.write_all(source.path.as_os_str().as_bytes())?;
        out.write_all(b":\n")?;
        out.write_all(&source.bytes)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command as Program;

    use perdura_conf::Document;

    use super::*;

    /// Files that end without a line feed, with several, or not in UTF-8; one that is included
    /// twice; a pattern, a nested include, an empty file.
    const FILES: &[(&str, &[u8])] = &[
        (
            "nginx.conf",
            b"pid t.pid; error_log stderr;\r\nevents {}\nhttp {\n include a/*.conf;\n \
          include a/one.conf; access_log off; types { include b/types; }\n}",
        ),
        ("a/one.conf", b"# \xff\xfe not text\n\n\n"),
        ("a/two.conf", b"include ./b/empty;\ninclude b/../b/empty; server_tokens off;"),
        ("a/.hidden.conf", b"not read"),
        ("b/empty", b""),
        ("b/types", b"text/html html;"),
    ];

    #[test]
    fn the_dump_is_byte_for_byte_that_of_nginx() {
        let folder = std::env::temp_dir().join(format!("perdura-dump-{}", std::process::id()));
        for (name, bytes) in FILES {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let prefix = format!("{}/", folder.display());
        let conf = folder.join("nginx.conf");
        let document = Document::read(&Disk::new(), &conf, b"worker_processes 1;");
        assert!(document.faults.is_empty(), "{:?}", document.faults);
        let mut ours = Vec::new();
        print(&document.sources, &mut ours).unwrap();
        let nginx = Program::new("nginx")
            .args(["-T", "-q", "-e", "stderr", "-g", "worker_processes 1;", "-p", &prefix, "-c"])
            .arg(Path::new("nginx.conf"))
            .output();
        fs::remove_dir_all(&folder).unwrap();
        match nginx {
            Ok(nginx) => {
                assert!(nginx.status.success(), "{}", String::from_utf8_lossy(&nginx.stderr));
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                assert_eq!(text(&ours), text(&nginx.stdout));
                assert_eq!(ours, nginx.stdout);
            }
            Err(error) => println!("skipped: nginx: {error}"),
        }
    }
}
