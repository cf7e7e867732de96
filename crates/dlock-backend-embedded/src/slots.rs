//! Where the records are: each has a number, and one piece of memory for its key and its value.

use dlock_store::Version;

/// How many slots are made at a time: what grows never moves what is there.
const CHUNK: usize = 1024;
/// The length of a key comes first, in this many bytes.
const LENGTH_BYTES: usize = 2;

/// One record, or nothing.
#[derive(Default)]
struct Slot {
    version: Version,
    /// The length of the key, the key, the value; empty if there is no record.
    text: Box<[u8]>,
}

impl Slot {
    fn value_at(&self) -> usize {
        let length = self.text.first_chunk::<LENGTH_BYTES>().copied().map_or(0, u16::from_le_bytes);
        LENGTH_BYTES + usize::from(length)
    }
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
        let slot = self.slot(number);
        slot.text.get(LENGTH_BYTES..slot.value_at()).unwrap_or_default()
    }

    pub(crate) fn value(&self, number: u32) -> &[u8] {
        let slot = self.slot(number);
        slot.text.get(slot.value_at()..).unwrap_or_default()
    }

    /// Makes a record, and says its number.
    pub(crate) fn add(&mut self, key: &[u8], version: Version, value: &[u8]) -> u32 {
        let slot = Slot { version, text: text(key, value) };
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
    pub(crate) fn set(&mut self, number: u32, version: Version, value: &[u8]) {
        let slot = self.slot_mut(number);
        slot.version = version;
        let value_at = slot.value_at();
        if slot.text.len() == value_at + value.len() {
            slot.text[value_at..].copy_from_slice(value);
        } else {
            slot.text = text(&slot.text[LENGTH_BYTES..value_at], value);
        }
    }

    /// Removes a record; its number is given to another.
    pub(crate) fn remove(&mut self, number: u32) {
        *self.slot_mut(number) = Slot::default();
        self.free.push(number);
    }
}

fn text(key: &[u8], value: &[u8]) -> Box<[u8]> {
    let mut text = Vec::with_capacity(LENGTH_BYTES + key.len() + value.len());
    text.extend_from_slice(&(key.len() as u16).to_le_bytes());
    text.extend_from_slice(key);
    text.extend_from_slice(value);
    text.into_boxed_slice()
}
