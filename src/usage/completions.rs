//! Completions for bash, zsh and fish. What `--explain` can explain is asked of the program itself, so
//! that it is never stale.

use super::{COMMANDS, Choice, OF_TUNNELS, OPTIONS, Value};
use std::fmt::Write as _;

const NOTICE: &str = "# Generated from the tables of src/usage.rs; do not edit.\n";

/// Prints every name that can be explained.
const NAMES: &str = "perdura --explain '*' 2>/dev/null";

fn all() -> impl Iterator<Item = &'static Choice> {
    OPTIONS.iter().chain(OF_TUNNELS)
}

pub fn bash() -> String {
    let mut cases = String::new();
    for option in all() {
        let names = option.spelled.join("|");
        let words = match option.value {
            Value::None => continue,
            Value::File => "COMPREPLY=($(compgen -f -- \"$word\"))".to_owned(),
            Value::Folder => "COMPREPLY=($(compgen -d -- \"$word\"))".to_owned(),
            Value::Words(words) => {
                format!("COMPREPLY=($(compgen -W '{}' -- \"$word\"))", words.join(" "))
            }
            Value::Explained => format!("COMPREPLY=($(compgen -W \"$({NAMES})\" -- \"$word\"))"),
            Value::Text => "COMPREPLY=()".to_owned(),
        };
        // Writing into a string cannot fail.
        let _ = writeln!(cases, "        {names}) {words}; return ;;");
    }
    let of = |list: &[Choice]| {
        let spelled = list.iter().flat_map(|option| option.spelled).copied();
        spelled.collect::<Vec<_>>().join(" ")
    };
    let commands: Vec<_> = COMMANDS.iter().map(|(name, _)| *name).collect();
    format!(
        "{NOTICE}_perdura() {{\n    local word=${{COMP_WORDS[COMP_CWORD]}}\n    \
         case ${{COMP_WORDS[COMP_CWORD-1]}} in\n{cases}    esac\n    local words='{}'\n    \
         if [ \"${{COMP_WORDS[1]}}\" = tunnels ]; then words=\"$words {}\"; fi\n    \
         if [ \"$COMP_CWORD\" = 1 ]; then words=\"$words {}\"; fi\n    \
         COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}}\ncomplete -F _perdura perdura\n",
        of(OPTIONS),
        of(OF_TUNNELS),
        commands.join(" ")
    )
}

pub fn zsh() -> String {
    let mut text = format!("#compdef perdura\n{NOTICE}_arguments -s \\\n");
    for option in all() {
        let action = match option.value {
            Value::None => String::new(),
            Value::File => format!(":{}:_files", option.called),
            Value::Folder => format!(":{}:_files -/", option.called),
            Value::Words(words) => format!(":{}:({})", option.called, words.join(" ")),
            Value::Explained => {
                format!(":{}:{{compadd -- $({})}}", option.called, NAMES.replace('\'', "\""))
            }
            Value::Text => format!(":{}:", option.called),
        };
        for spelled in option.spelled {
            let _ = writeln!(text, "    '{spelled}[{}]{action}' \\", option.what);
        }
    }
    let commands: Vec<_> = COMMANDS.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(text, "    '1:command:({})'", commands.join(" "));
    text
}

pub fn fish() -> String {
    let mut text = format!("{NOTICE}complete -c perdura -f\n");
    for (name, what) in COMMANDS {
        let _ =
            writeln!(text, "complete -c perdura -n __fish_use_subcommand -a {name} -d '{what}'");
    }
    let of_all = OPTIONS.iter().map(|option| (option, ""));
    let of_tunnels = OF_TUNNELS.iter();
    let of_tunnels = of_tunnels.map(|option| (option, " -n '__fish_seen_subcommand_from tunnels'"));
    for (option, condition) in of_all.chain(of_tunnels) {
        let value = match option.value {
            Value::None => String::new(),
            Value::File => " -r -F".to_owned(),
            Value::Folder => " -x -a '(__fish_complete_directories)'".to_owned(),
            Value::Words(words) => format!(" -x -a '{}'", words.join(" ")),
            Value::Explained => format!(" -x -a \"({NAMES})\""),
            Value::Text => " -x".to_owned(),
        };
        for spelled in option.spelled {
            let name = match spelled.strip_prefix("--") {
                Some(long) => format!("-l {long}"),
                None => format!("-s '{}'", spelled.trim_start_matches('-')),
            };
            let what = option.what;
            let _ = writeln!(text, "complete -c perdura{condition} {name}{value} -d '{what}'");
        }
    }
    text
}
