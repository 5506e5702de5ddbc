//! Which wheels share a layer.
//!
//! A heavy wheel has a layer of its own, which is then the same blob in every image. The rest share buckets that a
//! wheel's name alone chooses, so a changed, new or dropped dependency rewrites one bucket and no other.

use coil_oci::Hasher;

/// Wheels of this many bytes and more are heavy.
pub const HEAVY_FROM: u64 = 8 << 20;
/// The most heavy wheels that get layers of their own.
const HEAVY_MOST: usize = 48;
/// The most buckets for the rest; with the heavy ones this stays well below 90 layers.
const BUCKETS_MOST: usize = 32;
/// Buckets double until each holds no more wheels than this on average.
const BUCKET_WHEELS: usize = 4;

/// Cuts wheels, given by normalised name and size in bytes, into groups of indices; each group is one layer.
///
/// Heavy wheels come first, largest first; then the buckets in their order; names sort each bucket. The answer depends on
/// the set of wheels and not on its order.
pub fn group(wheels: &[(String, u64)]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..wheels.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(wheels[*index].1), &wheels[*index].0));
    let heavy = order
        .iter()
        .take_while(|index| wheels[**index].1 >= HEAVY_FROM)
        .count()
        .min(HEAVY_MOST);
    let light = order.split_off(heavy);
    let mut groups: Vec<Vec<usize>> = order.into_iter().map(|index| vec![index]).collect();
    let mut count = 1;
    while count < BUCKETS_MOST && light.len() > count * BUCKET_WHEELS {
        count *= 2;
    }
    let mut buckets = vec![Vec::new(); count];
    for index in light {
        buckets[bucket(&wheels[index].0, count)].push(index);
    }
    for mut bucket in buckets {
        bucket.sort_by_key(|index| &wheels[*index].0);
        if !bucket.is_empty() {
            groups.push(bucket);
        }
    }
    groups
}

/// The bucket of a name among `count`, a power of two.
fn bucket(name: &str, count: usize) -> usize {
    let mut hasher = Hasher::new();
    hasher.update(name.as_bytes());
    let digest = hasher.finish();
    usize::from_str_radix(&digest.hex()[..4], 16).unwrap_or(0) % count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wheels: &[(String, u64)]) -> Vec<Vec<&str>> {
        group(wheels)
            .iter()
            .map(|group| group.iter().map(|index| wheels[*index].0.as_str()).collect())
            .collect()
    }

    fn many(count: usize, heavy: usize) -> Vec<(String, u64)> {
        (0..count)
            .map(|index| {
                (
                    format!("package-{index}"),
                    if index < heavy { HEAVY_FROM } else { 1000 },
                )
            })
            .collect()
    }

    #[test]
    fn heavy_wheels_stand_alone_and_first() {
        let wheels = [
            ("small".to_owned(), 10),
            ("numpy".to_owned(), 16 << 20),
            ("torch".to_owned(), 800 << 20),
        ];
        assert_eq!(names(&wheels), [vec!["torch"], vec!["numpy"], vec!["small"]]);
    }

    #[test]
    fn order_does_not_matter() {
        let wheels = many(40, 3);
        let reversed: Vec<_> = wheels.iter().rev().cloned().collect();
        assert_eq!(names(&wheels), names(&reversed));
    }

    #[test]
    fn one_more_dependency_changes_one_bucket() {
        let mut wheels = many(100, 2);
        let before: Vec<Vec<String>> = names(&wheels)
            .iter()
            .map(|group| group.iter().map(|name| (*name).to_owned()).collect())
            .collect();
        wheels.push(("another".into(), 5000));
        let after = names(&wheels);
        let changed = after
            .iter()
            .filter(|group| !before.iter().any(|old| old == *group))
            .count();
        assert_eq!(changed, 1);
    }

    #[test]
    fn layers_stay_below_ninety_and_hold_every_wheel_once() {
        for (count, heavy) in [(0, 0), (1, 0), (1, 1), (15, 1), (257, 40), (1000, 300)] {
            let wheels = many(count, heavy);
            let groups = group(&wheels);
            assert!(groups.len() < 90, "{count}: {}", groups.len());
            let mut all: Vec<usize> = groups.into_iter().flatten().collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
