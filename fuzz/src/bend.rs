//! Inputs that are almost valid.

/// One to four changes, each drawn from the seed: the same seed bends the same way.
pub fn bend(input: &[u8], other: &[u8], seed: u64) -> Vec<u8> {
    let mut draw = Draw(seed);
    let mut bytes = input.to_vec();
    for _ in 0..=draw.below(4) {
        bend_once(&mut bytes, other, &mut draw);
    }
    bytes
}

/// A beginning of one and an end of the other.
pub fn splice(input: &[u8], other: &[u8], seed: u64) -> Vec<u8> {
    let mut draw = Draw(seed);
    let (upto, from) = (draw.below(input.len() + 1), draw.below(other.len() + 1));
    [&input[..upto], &other[from..]].concat()
}

/// Bytes at which encodings turn: ends of varints, signs, kinds of fields.
const TURNING: [u8; 12] = [0, 1, 2, 3, 0x08, 0x0a, 0x12, 0x1a, 0x7f, 0x80, 0xfe, 0xff];

fn bend_once(bytes: &mut Vec<u8>, other: &[u8], draw: &mut Draw) {
    let at = draw.below(bytes.len() + 1);
    let length = draw.below(1 + (bytes.len() - at).min(24));
    match draw.below(9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..at + length)),
        2 => {
            let piece = bytes[at..at + length].to_vec();
            bytes.splice(at..at, piece);
        }
        3 => bytes.insert(at, TURNING[draw.below(TURNING.len())]),
        4 => *bytes = splice(bytes, other, draw.next()),
        5 => {
            let from = draw.below(other.len() + 1);
            let upto = from + draw.below(1 + (other.len() - from).min(24));
            bytes.splice(at..at + length, other[from..upto].iter().copied());
        }
        change => {
            if let Some(byte) = bytes.get_mut(at) {
                match change {
                    6 => *byte ^= 1 << draw.below(8),
                    7 => *byte = TURNING[draw.below(TURNING.len())],
                    _ => *byte = draw.next() as u8,
                }
            }
        }
    }
}

/// Numbers from a seed: splitmix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below a number that is not zero.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_bends_the_same_way_and_seeds_bend_differently() {
        let (input, other) = ([7; 100], [9; 50]);
        let bent: std::collections::BTreeSet<Vec<u8>> = (0..500)
            .map(|seed| {
                let bent = bend(&input, &other, seed);
                assert_eq!(bent, bend(&input, &other, seed));
                bent
            })
            .collect();
        assert!(bent.len() > 400, "{}", bent.len());
        assert!((0..100).all(|seed| bend(&[], &[], seed).len() < 10));
    }
}
