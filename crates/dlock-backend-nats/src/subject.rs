//! Keys as subjects, and back.
//!
//! Up to its first slash a key is one token, and the rest another, so that the folders of dlock's keys can be followed
//! with one filter. Letters, digits, `/`, `_` and `-` stand for themselves; any other byte is `=` and two hex digits, and
//! an empty token is a single `=`.

use dlock_store::Key;

/// The subjects of one bucket.
#[derive(Clone, Debug)]
pub(crate) struct Subjects {
    prefix: String,
}

/// What a subject is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A record.
    Record(Key),
    /// A barrier of some server.
    Barrier,
    /// The marker of collected deletions.
    Marker,
}

/// No key's token begins so: a `=` is followed by a hex digit, or stands alone.
const BARRIER: &str = "=barrier";
/// How many subjects barriers have.
const BARRIERS: u64 = 64;
const MARKER: &str = "=marker";

impl Subjects {
    pub(crate) fn new(bucket: &str) -> Subjects {
        Subjects { prefix: format!("$KV.{bucket}.") }
    }

    /// All of the bucket.
    pub(crate) fn all(&self) -> String {
        format!("{}>", self.prefix)
    }

    pub(crate) fn record(&self, key: &Key) -> String {
        let mut subject = self.prefix.clone();
        match key.as_str().split_once('/') {
            Some((folder, rest)) => {
                push_token(&mut subject, folder);
                subject.push('.');
                push_token(&mut subject, rest);
            }
            None => push_token(&mut subject, key.as_str()),
        }
        subject
    }

    /// One of a few, in turn: of each the bucket keeps a bounded number of messages, and none may be gone before it has been
    /// delivered.
    pub(crate) fn barrier(&self, nonce: u64) -> String {
        format!("{}{BARRIER}{}", self.prefix, nonce % BARRIERS)
    }

    pub(crate) fn marker(&self) -> String {
        format!("{}{MARKER}", self.prefix)
    }

    /// `None` for what dlock never publishes.
    pub(crate) fn meaning(&self, subject: &str) -> Option<Meaning> {
        let rest = subject.strip_prefix(&self.prefix)?;
        if rest.starts_with(BARRIER) {
            return Some(Meaning::Barrier);
        }
        if rest == MARKER {
            return Some(Meaning::Marker);
        }
        let key = match rest.split_once('.') {
            Some((folder, rest)) => [read_token(folder)?, b"/".to_vec(), read_token(rest)?].concat(),
            None => read_token(rest)?,
        };
        let key = Key::new(&String::from_utf8(key).ok()?).ok()?;
        // One key, one subject: another way to write it is somebody else's, and no news of the record.
        (self.record(&key) == subject).then_some(Meaning::Record(key))
    }
}

fn push_token(subject: &mut String, text: &str) {
    if text.is_empty() {
        subject.push('=');
    }
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'_' | b'-' => subject.push(char::from(byte)),
            _ => subject.push_str(&format!("={byte:02X}")),
        }
    }
}

fn read_token(token: &str) -> Option<Vec<u8>> {
    if token == "=" {
        return Some(Vec::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'=' {
            let (digits, tail) = rest.split_at_checked(2)?;
            rest = tail;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_key_is_read_back_from_a_subject_that_nats_takes(text in "\\PC{0,40}|[a/.*> =]{0,12}") {
            let subjects = Subjects::new("b");
            let key = Key::new(&text).unwrap();
            let subject = subjects.record(&key);
            prop_assert_eq!(subjects.meaning(&subject), Some(Meaning::Record(key)));
            let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-=".contains(&byte);
            for token in subject.split('.').skip(2) {
                prop_assert!(!token.is_empty() && token.bytes().all(taken), "{}", subject);
            }
        }

        #[test]
        fn two_keys_have_two_subjects(one in "[a/.= ]{0,6}", two in "[a/.= ]{0,6}") {
            prop_assume!(one != two);
            let subjects = Subjects::new("b");
            prop_assert_ne!(subjects.record(&Key::new(&one).unwrap()), subjects.record(&Key::new(&two).unwrap()));
        }
    }

    #[test]
    fn dlocks_own_subjects_are_no_records() {
        let subjects = Subjects::new("b");
        assert_eq!(subjects.meaning(&subjects.barrier(70)), Some(Meaning::Barrier));
        assert_eq!(subjects.meaning(&subjects.marker()), Some(Meaning::Marker));
        assert_eq!(subjects.meaning("$KV.other.a"), None);
    }

    #[test]
    fn a_key_has_one_subject_and_what_is_none_of_ours_has_no_key() {
        let subjects = Subjects::new("b");
        assert_eq!(subjects.record(&Key::new("r/a b").unwrap()), "$KV.b.r.a=20b");
        let long = "x".repeat(dlock_store::KEY_BYTES_MAX + 1);
        for foreign in
            ["r.a=+20b", "r.a=62", "r.a=2fb", "r/a", "r/a.b", "r.", "", "r.a b", "r.=F", "r.=FF", &long]
        {
            assert_eq!(subjects.meaning(&format!("$KV.b.{foreign}")), None, "{foreign}");
        }
    }
}
