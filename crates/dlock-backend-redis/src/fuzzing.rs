//! For the fuzzer: reads any bytes as what Redis has, or announces.

use crate::{quorum, record};
use dlock_store::Content;

/// Reads a record, an absence, announcements and a quorum's registers, or refuses to.
///
/// # Panics
/// When what is read is not in the bytes.
pub fn read(data: &[u8]) {
    match record::read(Some(data.to_vec()), None) {
        Ok(record) => {
            let value = record.value().map(|value| &value[..]);
            assert_eq!(value, data.get(record::NUMBER_BYTES..), "a record is its version and its value");
            assert_eq!(record.version.0.to_be_bytes(), data[..record::NUMBER_BYTES]);
        }
        Err(_) => assert!(data.len() < record::NUMBER_BYTES, "only what has no version is no record"),
    }
    if let Ok(absence) = record::read(None, Some(data.to_vec())) {
        assert!(matches!(absence.content, Content::Absent { .. }) && data.len() >= 2 * record::NUMBER_BYTES);
    }
    for change in record::announced(data.to_vec()).into_iter().flatten() {
        let contains =
            |part: &[u8]| data.windows(part.len().max(1)).any(|window| window == part) || part.is_empty();
        assert!(contains(change.key.as_str().as_bytes()));
        let value = change.record.as_ref().and_then(|record| record.value());
        assert!(value.is_none_or(|value| contains(value)));
    }
    quorum::read_any(data);
}
