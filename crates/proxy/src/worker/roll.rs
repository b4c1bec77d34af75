//! The roll of the threads: which orders each of them obeys, and which have ended.
//!
//! The first thread keeps it, from what all of them say. Not here: the orders (`obey`).

use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// What a thread tells the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It obeys the orders with this number.
    Confirmed { thread: u16, number: u64 },
    /// It has ended what was open.
    Ended { thread: u16 },
}

/// The threads that have not ended.
pub struct Roll {
    heard: mpsc::Receiver<Word>,
    threads: BTreeMap<u16, Stand>,
}

/// What is known of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Nothing was heard of it so far.
    Silent,
    Obeys(u64),
}

impl Roll {
    /// The roll of threads that are being started, and say what they do into `heard`.
    pub fn new(heard: mpsc::Receiver<Word>, threads: impl Iterator<Item = u16>) -> Roll {
        Roll { heard, threads: threads.map(|thread| (thread, Stand::Silent)).collect() }
    }

    /// Waits until every thread obeys the orders with this number, or has ended.
    pub async fn confirmed(&mut self, number: u64) {
        let behind = |stand: &Stand| match *stand {
            Stand::Silent => true,
            Stand::Obeys(heard) => heard < number,
        };
        while self.threads.values().any(behind) {
            if !self.hear().await {
                return;
            }
        }
    }

    /// Waits until every thread has ended what was open.
    pub async fn all_ended(&mut self) {
        while !self.threads.is_empty() && self.hear().await {}
    }

    /// Takes the next word; false when nobody can say one any more. Nothing is lost when the wait is
    /// given up.
    async fn hear(&mut self) -> bool {
        match self.heard.recv().await {
            Some(Word::Confirmed { thread, number }) => {
                if let Some(stand) = self.threads.get_mut(&thread) {
                    *stand = Stand::Obeys(number);
                }
                true
            }
            Some(Word::Ended { thread }) => {
                self.threads.remove(&thread);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    fn is_done(wait: impl Future<Output = ()>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(wait).poll(&mut context) == Poll::Ready(())
    }

    #[test]
    fn a_thread_that_has_ended_is_not_waited_for() {
        let (words, heard) = mpsc::channel(8);
        let mut roll = Roll::new(heard, 0..2);
        let say = |word| words.try_send(word).unwrap();
        say(Word::Confirmed { thread: 0, number: 1 });
        assert!(!is_done(roll.confirmed(1)));
        // The same one again makes up for nobody.
        say(Word::Confirmed { thread: 0, number: 2 });
        assert!(!is_done(roll.confirmed(1)));
        say(Word::Confirmed { thread: 1, number: 1 });
        assert!(is_done(roll.confirmed(1)));
        say(Word::Ended { thread: 1 });
        assert!(is_done(roll.confirmed(2)), "one obeys and one has ended");
        assert!(!is_done(roll.all_ended()));
        say(Word::Ended { thread: 0 });
        assert!(is_done(roll.confirmed(9)));
        assert!(is_done(roll.all_ended()));
    }
}
