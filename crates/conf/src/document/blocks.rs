//! The blocks of one file that are open while it is read. It keeps the nesting and no rule:
//! [`super::reading`] decides what may be opened and reports what is wrong.

use super::Statement;
use crate::{Place, Word};

/// The open blocks, as a stack: nesting costs memory, never machine stack.
pub(super) struct Blocks {
    /// What stands in the file itself.
    outermost: Vec<Statement>,
    open: Vec<Block>,
    /// How many blocks are open inside of which everything is skipped.
    skipped: usize,
}

/// A block whose brace has not come yet.
struct Block {
    /// The words before the opening brace; none when they were beyond repair.
    head: Vec<Word>,
    statements: Vec<Statement>,
}

impl Blocks {
    pub fn new() -> Self {
        Self { outermost: Vec::new(), open: Vec::new(), skipped: 0 }
    }

    /// How many blocks are open.
    pub fn depth(&self) -> usize {
        self.open.len() + self.skipped
    }

    /// Where the next statement belongs; nowhere in a block that is skipped.
    pub fn innermost(&mut self) -> Option<&mut Vec<Statement>> {
        if self.skipped > 0 {
            return None;
        }
        match self.open.last_mut() {
            Some(block) => Some(&mut block.statements),
            None => Some(&mut self.outermost),
        }
    }

    /// The name of the innermost block that has one.
    pub fn name(&self) -> Option<&Word> {
        self.open.iter().rev().find_map(|block| block.head.first())
    }

    /// Opens a block; without words in its head its statements will be dropped.
    pub fn open(&mut self, head: Vec<Word>) {
        self.open.push(Block { head, statements: Vec::new() });
    }

    /// Opens a block whose content is skipped. Whether it is the outermost of its kind.
    pub fn skip(&mut self) -> bool {
        self.skipped += 1;
        self.skipped == 1
    }

    /// Closes the innermost block with the brace at this place; `false` when none is open.
    pub fn close(&mut self, closed_at: Option<Place>) -> bool {
        if self.skipped > 0 {
            self.skipped -= 1;
            return true;
        }
        let Some(Block { head, statements }) = self.open.pop() else {
            return false;
        };
        let mut words = head.into_iter();
        if let (Some(name), Some(outer)) = (words.next(), self.innermost()) {
            outer.push(Statement {
                name,
                args: words.collect(),
                block: Some(statements),
                closed_at,
            });
        }
        true
    }

    /// All statements of the file; blocks that are still open count as closed.
    pub fn into_statements(mut self) -> Vec<Statement> {
        while self.close(None) {}
        self.outermost
    }
}
