//! Where the records are: each has a number, and mostly one piece of memory for its key and its value.

use crate::kept::Kept;
use dlock_store::{Value, Version};

/// How many slots are made at a time: what grows never moves what is there.
const CHUNK: usize = 1024;
/// The length of a key comes first, in this many bytes.
const LENGTH_BYTES: usize = 2;

/// One record, or nothing.
#[derive(Default)]
struct Slot {
    version: Version,
    text: Text,
}

enum Text {
    /// The length of the key, the key, the value; empty if there is no record.
    Together(Box<[u8]>),
    /// A long value stays in the pieces in which it came: the next one is likely to share them.
    Apart(Box<(Box<[u8]>, Value)>),
}

impl Default for Text {
    fn default() -> Text {
        Text::Together(Box::default())
    }
}

impl Text {
    fn new(key: &[u8], value: Kept<'_>) -> Text {
        match value {
            Kept::Whole(value) => {
                let mut text = Vec::with_capacity(LENGTH_BYTES + key.len() + value.len());
                text.extend_from_slice(&(key.len() as u16).to_le_bytes());
                text.extend_from_slice(key);
                text.extend_from_slice(value);
                Text::Together(text.into_boxed_slice())
            }
            Kept::Pieces(value) => Text::Apart(Box::new((key.into(), value.clone()))),
        }
    }

    fn key(&self) -> &[u8] {
        match self {
            Text::Together(text) => text.get(LENGTH_BYTES..value_at(text)).unwrap_or_default(),
            Text::Apart(apart) => &apart.0,
        }
    }

    fn value(&self) -> Kept<'_> {
        match self {
            Text::Together(text) => Kept::Whole(text.get(value_at(text)..).unwrap_or_default()),
            Text::Apart(apart) => Kept::Pieces(&apart.1),
        }
    }

    fn set(&mut self, value: Kept<'_>) {
        match (&mut *self, value) {
            (Text::Together(text), Kept::Whole(value)) if text.len() == value_at(text) + value.len() => {
                let at = value_at(text);
                text[at..].copy_from_slice(value);
            }
            (Text::Apart(apart), Kept::Pieces(value)) => apart.1 = value.clone(),
            _ => *self = Text::new(self.key(), value),
        }
    }
}

/// Where the value begins.
fn value_at(text: &[u8]) -> usize {
    let length = text.first_chunk::<LENGTH_BYTES>().copied().map_or(0, u16::from_le_bytes);
    LENGTH_BYTES + usize::from(length)
}

/// Records by number.
#[derive(Default)]
pub(crate) struct Slots {
    chunks: Vec<Vec<Slot>>,
    free: Vec<u32>,
}

impl Slots {
    fn slot(&self, number: u32) -> &Slot {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    fn slot_mut(&mut self, number: u32) -> &mut Slot {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    pub(crate) fn version(&self, number: u32) -> Version {
        self.slot(number).version
    }

    pub(crate) fn key(&self, number: u32) -> &[u8] {
        self.slot(number).text.key()
    }

    pub(crate) fn value(&self, number: u32) -> Kept<'_> {
        self.slot(number).text.value()
    }

    /// Makes a record, and says its number.
    pub(crate) fn add(&mut self, key: &[u8], version: Version, value: Kept<'_>) -> u32 {
        let slot = Slot { version, text: Text::new(key, value) };
        if let Some(number) = self.free.pop() {
            *self.slot_mut(number) = slot;
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("one was just made, if there was none with room");
        chunk.push(slot);
        u32::try_from(before + chunk.len() - 1).expect("four thousand million records")
    }

    /// Gives a record another value.
    pub(crate) fn set(&mut self, number: u32, version: Version, value: Kept<'_>) {
        let slot = self.slot_mut(number);
        slot.version = version;
        slot.text.set(value);
    }

    /// Removes a record; its number is given to another.
    pub(crate) fn remove(&mut self, number: u32) {
        *self.slot_mut(number) = Slot::default();
        self.free.push(number);
    }
}
