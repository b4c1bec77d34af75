//! The crowd on a thread of its own, and the orders that it takes meanwhile.
//!
//! Called by the runs, which do to the proxy what the tunnels must not notice.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::crowd::Crowd;
use super::fault::Fault;
use super::harm::Tally;
use super::role::Kind;
use crate::echo;

/// How long a direction may stand still.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A crowd at work.
pub struct Crew {
    /// Where its upstream listens.
    pub upstream: SocketAddr,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Open(SocketAddr, Vec<(Kind, u32)>, Sender<Result<(), Fault>>),
    Slowest(Sender<Vec<u64>>),
    Tally(Sender<Tally>),
    Finish(Sender<Result<Tally, Fault>>),
}

impl Crew {
    /// An upstream that listens, and no tunnels.
    pub fn start(seed: u64, patience: Duration) -> Result<Crew, Fault> {
        let own = |error: std::io::Error| Fault::Own(error.to_string());
        let (listener, upstream) = echo::bind(0).map_err(own)?;
        let (orders, taken) = channel();
        let thread = std::thread::Builder::new().name("crowd".to_owned()).spawn(move || {
            let served = Crowd::new(listener, seed, patience)
                .and_then(|mut crowd| serve(&mut crowd, &taken));
            // What ends it early shows at the next order, which nobody answers.
            if let Err(errno) = served {
                eprintln!("perdura-bench: the crowd has ended: {errno}");
            }
        });
        Ok(Crew { upstream, orders, thread: Some(thread.map_err(own)?) })
    }

    /// Opens so many tunnels of each kind through `proxy`, and returns when all are open.
    pub fn open(&self, proxy: SocketAddr, plan: &[(Kind, u32)]) -> Result<(), Fault> {
        self.ask(|answer| Order::Open(proxy, plan.to_vec(), answer))?
    }

    /// The slowest ticks since this was last asked, in nanoseconds: two for each ticker.
    pub fn take_slowest(&self) -> Result<Vec<u64>, Fault> {
        self.ask(Order::Slowest)
    }

    /// What happened so far.
    pub fn tally(&self) -> Result<Tally, Fault> {
        self.ask(Order::Tally)
    }

    /// A last message both ways and the end of every tunnel; what happened in all.
    pub fn finish(&self) -> Result<Tally, Fault> {
        self.ask(Order::Finish)?
    }

    fn ask<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> Result<T, Fault> {
        let (answer, given) = channel();
        let gone = || Fault::Own("the crowd has ended".to_owned());
        self.orders.send(order(answer)).map_err(|_| gone())?;
        given.recv().map_err(|_: RecvError| gone())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // The thread ends when nobody can give an order any more.
        self.orders = channel().0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(crowd: &mut Crowd, orders: &Receiver<Order>) -> Result<(), rustix::io::Errno> {
    loop {
        // An answer that nobody waits for any more is no fault of ours.
        match orders.try_recv() {
            Err(TryRecvError::Empty) => crowd.turn()?,
            Err(TryRecvError::Disconnected) => return Ok(()),
            Ok(Order::Open(proxy, plan, answer)) => {
                let opened = crowd.open(proxy, &plan);
                let _ = answer.send(opened.map_err(|errno| Fault::Own(errno.to_string())));
            }
            Ok(Order::Slowest(answer)) => drop(answer.send(crowd.take_slowest())),
            Ok(Order::Tally(answer)) => drop(answer.send(crowd.tally())),
            Ok(Order::Finish(answer)) => {
                let done = crowd.finish();
                let _ = answer.send(done.map_err(|errno| Fault::Own(errno.to_string())));
            }
        }
    }
}
