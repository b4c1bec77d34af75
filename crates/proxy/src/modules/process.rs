//! The process: what nginx's core module sets outside of any block.

use perdura_conf::{
    Arity, Fault, Flag, Number, Place, Reader, Text, Time, Value, Word, directives,
};

directives! {
    /// Runs in the background, detached from the terminal. Off is for service managers and
    /// containers.
    daemon: Flag = "on", in MAIN;

    /// Runs a master that watches over a worker. Without one, tunnels do not survive a crash.
    master_process: Flag = "on", in MAIN;

    /// How many threads the worker runs; `auto` is one for each processor. There is one worker
    /// process whatever the number is, so `$pid` is the same for all.
    worker_processes: Count = "1", in MAIN;

    /// The limit of open descriptors, for each thread: all of them share one table, whose limit is as
    /// many times this, or, when nothing is said, the limit in force. A tunnel needs two descriptors,
    /// a proxied request two, a log one.
    worker_rlimit_nofile: Option<Number> = "", in MAIN;

    /// How long a graceful end (`-s quit`) waits for requests and tunnels before it closes them.
    /// Without it a graceful end waits for the last tunnel, however long that is.
    worker_shutdown_timeout: Option<Time> = "", in MAIN;

    /// How long `-s upgrade` waits for the new program to serve before it ends it and lets everything
    /// be as before.
    upgrade_start_timeout: Time = "60s", in MAIN;

    /// The user and group that the worker runs as when the master is root; otherwise it says
    /// nothing. Without a group, the one of the user's own name is taken and must exist.
    user: Option<User> = "", in MAIN;

    /// The file that holds the process number of the master. It is there only while every socket
    /// listens. `-s` finds the process by it.
    pid: Text = "/run/perdura.pid", in MAIN;
}

/// The pid file unless the configuration names one; the text of the default above.
pub const PID: &str = "/run/perdura.pid";

/// `auto` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Auto,
    Of(u64),
}

/// Threads at most; the table of tunnels is laid out for no more.
pub const THREADS_MAX: u64 = 256;

impl Value for Count {
    const SYNTAX: &'static str = "number | auto";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        if args[0].is("auto") {
            return Ok(Count::Auto);
        }
        Number::parse(&args[0].bytes)
            .filter(|count| (1..=THREADS_MAX).contains(count))
            .map(Count::Of)
            .ok_or_else(|| {
                reader
                    .directive_invalid(&args[0])
                    .hint(format!("write \"auto\" or a number from 1 to {THREADS_MAX}"))
            })
    }
}

/// A user's name and, when given, a group's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Where the directive stands.
    pub directive: Place,
    pub user: Word,
    pub group: Option<Word>,
}

impl Value for User {
    const SYNTAX: &'static str = "user [group]";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (user, group) = (args[0].clone(), args.get(1).cloned());
        Ok(User { directive: reader.directive.place, user, group })
    }
}
