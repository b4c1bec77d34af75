//! The man page, as troff.

use super::{COMMANDS, Choice, OF_TUNNELS, OPTIONS, SIGNALS, SYNOPSIS};
use crate::paths;
use std::fmt::Write as _;

/// perdura(8).
pub fn text() -> String {
    let mut text = format!(
        ".\\\" Generated from the tables of src/usage.rs; do not edit.\n\
         .TH PERDURA 8 \"\" \"perdura {}\" \"System administration\"\n",
        env!("CARGO_PKG_VERSION")
    );
    section(
        &mut text,
        "NAME",
        "perdura \\- reverse proxy that reads nginx.conf and keeps its tunnels",
    );
    text += ".SH SYNOPSIS\n.nf\n";
    for way in SYNOPSIS {
        text += &format!("{}\n", escaped(way));
    }
    text += ".fi\n";
    section(&mut text, "DESCRIPTION", DESCRIPTION);
    text += ".SH OPTIONS\n";
    OPTIONS.iter().for_each(|option| choice(&mut text, option));
    text += ".SH COMMANDS\n";
    for (name, what) in COMMANDS {
        item(&mut text, name, what);
    }
    text += "Options of\n.B tunnels\nare, beside\n.BR \\-p ,\n.B \\-c\nand\n.BR \\-g :\n";
    OF_TUNNELS.iter().for_each(|option| choice(&mut text, option));
    section(
        &mut text,
        "SIGNALS",
        "The master process, whose number is in the pid file, obeys these:",
    );
    for (name, what) in SIGNALS {
        item(&mut text, name, what);
    }
    text += ".SH EXIT STATUS\n";
    item(&mut text, "0", "done; with -t: the configuration can be served, warnings or not");
    item(&mut text, "1", "a fault, which is said on standard error");
    section(&mut text, "ENVIRONMENT", "");
    item(
        &mut text,
        "NOTIFY_SOCKET",
        "where a service manager is told that the program is ready, reloads or ends (sd_notify(3))",
    );
    section(&mut text, "FILES", "");
    for (path, what) in FILES {
        item(&mut text, path, what);
    }
    section(&mut text, "SEE ALSO", SEE_ALSO);
    text
}

const DESCRIPTION: &str = "\
Perdura serves HTTP as a configuration in the language of nginx says. Its centre is the tunnel: a \
connection that was upgraded to WebSocket or another protocol, or asked for by CONNECT. A tunnel \
ends only when one of its two peers ends it, or the operator says so: not when the configuration is \
read anew, not when the program is changed, and not when a worker dies.\n.PP\nWithout a command, \
perdura starts; as a daemon, unless the configuration says \"daemon off\".";

const SEE_ALSO: &str = "\
perdura \\-\\-explain prints what a directive or a variable means. The pages of all of them are in \
/usr/share/doc/perdura/directives, and what is otherwise than in nginx is in \
/usr/share/doc/perdura/differences.md.";

const FILES: &[(&str, &str)] = &[
    (paths::CONF, "the configuration, unless -c names another one"),
    (paths::ERROR_LOG, "the error log, unless the configuration or -e names another one"),
    (paths::ACCESS_LOG, "the access log, unless the configuration names another one"),
    (paths::PID, "the number of the master process, unless the configuration names another file"),
];

fn section(text: &mut String, title: &str, body: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, ".SH {title}");
    if !body.is_empty() {
        let _ = writeln!(text, "{body}");
    }
}

fn choice(text: &mut String, option: &Choice) {
    let bold = |spelled: &&str| format!("\\fB{}\\fR", escaped(spelled));
    let names: Vec<_> = option.spelled.iter().map(bold).collect();
    let value = match option.called {
        "" => String::new(),
        called => format!(" \\fI{called}\\fR"),
    };
    let meaning = escaped(&option.meaning());
    let _ = writeln!(text, ".TP\n{}{value}\n{meaning}", names.join(", "));
}

fn item(text: &mut String, name: &str, what: &str) {
    let _ = writeln!(text, ".TP\n.B {}\n{}", escaped(name), escaped(what));
}

/// A hyphen of a command is a minus, so that it can be copied from the page.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
