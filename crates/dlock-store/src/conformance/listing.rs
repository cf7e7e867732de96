//! Listing by prefix and page.

use super::world::World;
use crate::Key;
use bytes::Bytes;

async fn names(world: &World, prefix: &str, page: usize) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None::<Key>);
    loop {
        let listed = world.store().list(prefix, after.as_ref(), page).await.expect("a page");
        assert!(listed.records.len() <= page);
        for (key, record) in &listed.records {
            let name = key.as_str().strip_prefix(world.prefix()).expect("a key of this test").to_owned();
            assert_eq!(
                record.value().map(Bytes::as_ref),
                Some(name.as_bytes()),
                "the listed record is another's"
            );
            names.push(name);
        }
        if !listed.more {
            return names;
        }
        after = listed.records.last().map(|(key, _)| key.clone());
        assert!(after.is_some(), "there is more, but the page is empty");
    }
}

pub(super) async fn a_listing_is_in_order_and_in_pages(world: World) {
    let mut expected: Vec<String> = (0..25).map(|number| format!("item {number}")).collect();
    for name in &expected {
        world.put(&world.key(name), name).await;
    }
    world.put(&world.key("item gone"), "item gone").await;
    world.delete(&world.key("item gone"), 0).await;
    expected.sort();
    for page in [1, 7, 25, 100] {
        assert_eq!(names(&world, world.prefix(), page).await, expected, "in pages of {page}");
    }
    let missing = world.key("item 15");
    world.delete(&missing, 0).await;
    let rest = world.store().list(world.prefix(), Some(&missing), 100).await.expect("a page");
    let first = rest.records.first().map(|(key, _)| key.clone());
    assert_eq!(first, Some(world.key("item 16")), "after a key that is gone");
}

pub(super) async fn a_prefix_is_taken_literally(world: World) {
    let all = ["a", "a*", "a*b", "a?", "a[b]", "a\\b", "a.b", "a/b", "ab", "a%b", "a b", "á", "a_", "b"];
    for name in all {
        world.put(&world.key(name), name).await;
    }
    for prefix in ["", "a", "a*", "a?", "a[", "a\\", "a.", "a/", "a%", "a ", "á", "a_", "c"] {
        let mut expected: Vec<&str> = all.into_iter().filter(|name| name.starts_with(prefix)).collect();
        expected.sort_unstable();
        let whole = format!("{}{prefix}", world.prefix());
        assert_eq!(names(&world, &whole, 5).await, expected, "prefix {prefix:?}");
    }
}
